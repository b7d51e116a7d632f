"""Sparsemax: the Euclidean projection onto the simplex."""

from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import Axis, Threshold


class Sparsemax(Threshold):
    """p = argmin over the simplex of ||p - z||^2: p_j = max(z_j - tau, 0)."""

    formula = "max(z - τ, 0)"
    paper = "arXiv 1602.02068, Eq. 2"
    tags = frozenset(
        {
            "simplex",
            "sparse",
            "shift_invariant",
            "order_preserving",
            "symmetric_jacobian",
        }
    )

    def weight(self, u: Array) -> Array:
        return rows.positive(u)

    def inverse(self, p: Array) -> Array:
        return p


def sparsemax(
    x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """p = argmin over the simplex of ||p - z||^2: p_j = max(z_j - tau, 0).

    Scores further than 1 below the largest get exactly 0. tau is found without sorting,
    exactly up to rounding: on a piecewise linear sum the search ends. The Jacobian
    is diag(s) - s s^T / |s| with s the indicator of the support. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> sj.sparsemax(jnp.array([1.5, 1.0, 0.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    return Sparsemax()(x, axis=axis, where=where)
