"""Logistic-softmax: normalized sigmoids, which augmentation makes conjugate."""

import jax
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import INFINITY, parameter


class LogisticSoftmax(Ratio):
    """p_j = sigmoid(z_j / T) / sum_i sigmoid(z_i / T)."""

    formula = "σ(z/T) / Σ σ(z/T)"
    paper = "arXiv 1905.09670; arXiv 2310.10379 (temperature)"
    tags = frozenset({"simplex", "order_preserving"})

    temperature: ArrayLike = parameter(1.0, bounds=(0.0, INFINITY), learned=False)

    def log_weight(self, z: Array) -> Array:
        return jax.nn.log_sigmoid(z / self.temperature)


def logistic_softmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    """p_j = sigmoid(z_j / T) / sum_i sigmoid(z_i / T).

    Scores far above 0 weigh the same, whatever leads; far below 0 it is the softmax of
    z / T. Not shift invariant. `temperature` > 0 broadcasts against x with size 1 along
    `axis`; masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.logistic_softmax(jnp.array([3.0, 0.0, -3.0]))]
    [0.635, 0.333, 0.032]
    """
    return LogisticSoftmax(temperature=temperature)(x, axis=axis, where=where)
