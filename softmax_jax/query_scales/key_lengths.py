"""Scores divided by the lengths of the keys, instead of by the root of their width."""

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.errors import UserError
from softmax_jax.normalizers import rows
from softmax_jax.query_scales.base import QueryScale, Seen


def _sum(length: Array, visible: Array) -> Array:
    return jnp.where(visible, length, 0).sum(-1, keepdims=True)


def _max(length: Array, visible: Array) -> Array:
    return jnp.where(visible, length, 0).max(-1, keepdims=True)


def _root_sum_square(length: Array, visible: Array) -> Array:
    squares = _sum(length**2, visible)
    empty = squares == 0
    return jnp.where(empty, 0, jnp.sqrt(jnp.where(empty, 1, squares)))


STATISTICS = {"sum": _sum, "max": _max, "root_sum_square": _root_sum_square}


class KeyLengths(QueryScale):
    """z_j = q.k_j / S, with S the sum of |k_i| over the visible keys.

    Whatever `scale` the call has is divided out again, so a bias or a soft-cap, which
    that scale does not reach, is multiplied by 1 / (scale S). `statistic` may also be
    "max" or "root_sum_square", our extensions. `detached` keeps gradients from
    reaching the keys through S.
    """

    formula = "1 / (scale Σ |k|)"
    paper = "arXiv 2311.09406"

    statistic: str = "sum"
    detached: bool = False

    def check(self) -> None:
        super().check()
        if self.statistic not in STATISTICS:
            raise UserError(
                f"KeyLengths: statistic must be one of {', '.join(STATISTICS)}, got "
                f"{self.statistic!r}"
            )

    def multiplier(self, seen: Seen) -> Array:
        visible = True if seen.visible is None else seen.visible
        total = STATISTICS[self.statistic](seen.key_length, jnp.asarray(visible))
        if self.detached:
            total = jax.lax.stop_gradient(total)
        return rows.reciprocal(seen.scale * total)
