"""Sparse-softmax: softmax over the k largest scores."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.errors import UserError
from softmax_jax.normalizers import order
from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import row_statistic


class SparseSoftmax(Ratio):
    """p_j = e^(z_j) / sum of e^(z_i) over the k largest scores, and 0 outside them.

    Scores tied with the k-th largest all take part.
    """

    formula = "e^z [z ≥ z₍k₎] / Σ e^z [z ≥ z₍k₎]"
    paper = "arXiv 2112.12433"
    tags = frozenset({"simplex", "sparse", "shift_invariant", "order_preserving"})

    k: int = 10
    smallest: Any = row_statistic()

    def check(self) -> None:
        super().check()
        if self.k < 1:
            raise UserError(f"SparseSoftmax: k must be at least 1, got {self.k}")

    def rows(self, n, z, visible):
        return self.fill(smallest=order.kth_largest(z, visible, self.k))

    def log_weight(self, z: Array) -> Array:
        return z

    def factor(self, z: Array) -> Array:
        # A NaN is not below anything, and shows.
        return jnp.where(z < self.smallest, 0, jnp.ones_like(z))


def sparse_softmax(
    x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None, k: int = 10
) -> Array:
    """p_j = e^(z_j) / sum of e^(z_i) over the k largest scores, and 0 outside them.

    Only visible scores are ranked; a row with fewer than k is plain softmax. Scores
    tied with the k-th largest all take part, which keeps the weights independent of
    order. The choice of the k is not differentiated: the weights jump where two scores
    swap ranks. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> x = jnp.array([2.0, 1.0, 0.0, -1.0])
    >>> [round(float(p), 3) for p in sj.sparse_softmax(x, k=2)]
    [0.731, 0.269, 0.0, 0.0]
    """
    return SparseSoftmax(k=k)(x, axis=axis, where=where)
