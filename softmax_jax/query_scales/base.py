"""The contract: a query scale is what the scores of one query are multiplied by.

    z_j = c * (softcap(scale * q.k_j) + bias_j)

It composes with any normalizer, and rides on any implementation of attention.
"""

import abc
from typing import NamedTuple, dataclass_transform

from jax import Array

from softmax_jax.normalizers.parameters import Parametrised, parameter
from softmax_jax.normalizers.rows import Rows, Statistic, Visible


class Seen(NamedTuple):
    """What each query sees, rows of scores along the last axis.

    n counts the visible keys (1 where there is none), `key_length` holds |k_j|, and
    `scale` is what q.k was multiplied by.
    """

    n: Statistic
    visible: Visible
    key_length: Rows
    scale: Array


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(parameter,)
)
class QueryScale(Parametrised, abc.ABC):
    """c: fields declared with `parameter` are learnable leaves, as of a normalizer."""

    @abc.abstractmethod
    def multiplier(self, seen: Seen) -> Array:
        """c of every query."""
