"""Entmax: the family between softmax (alpha -> 1) and sparsemax (alpha = 2)."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import Axis, Threshold
from softmax_jax.normalizers.parameters import INFINITY, parameter

TAGS = frozenset(
    {"simplex", "sparse", "shift_invariant", "order_preserving", "symmetric_jacobian"}
)


class Entmax(Threshold):
    """p = argmax over the simplex of p.z + H_alpha(p), H_alpha the Tsallis entropy.

    p_j = [(alpha - 1) z_j - tau]_+^(1 / (alpha - 1)). Larger alpha is sparser.
    """

    formula = "[(α-1)z - τ]₊^(1/(α-1))"
    paper = "arXiv 1905.05702"
    tags = TAGS

    alpha: ArrayLike = parameter(1.5, bounds=(1.0, INFINITY), learned=False)

    def multiplier(self, n: Array) -> Array:
        return jnp.asarray(self.alpha - 1)

    def weight(self, u: Array) -> Array:
        return jnp.exp(self.log_weight(u))

    def inverse(self, p: Array) -> Array:
        return p ** (self.alpha - 1)

    def log_weight(self, u: Array) -> Array:
        outside = u <= 0
        log_u = jnp.log(jnp.where(outside, 1, u))
        return jnp.where(outside, -jnp.inf, log_u / (self.alpha - 1))


class Entmax15(Threshold):
    """Entmax at alpha = 1.5: p_j = [z_j / 2 - tau]_+^2."""

    formula = "[z/2 - τ]₊²"
    paper = "arXiv 1905.05702"
    tags = TAGS

    def multiplier(self, n: Array) -> Array:
        return jnp.full_like(n, 0.5)

    def weight(self, u: Array) -> Array:
        return rows.squared_positive(u)

    def inverse(self, p: Array) -> Array:
        return jnp.sqrt(p)


def entmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    alpha: ArrayLike = 1.5,
) -> Array:
    """p = argmax over the simplex of p.z + H_alpha(p), H_alpha the Tsallis entropy.

    p_j = [(alpha - 1) z_j - tau]_+^(1 / (alpha - 1)) for any alpha > 1, with the
    gradient to alpha; `alpha` broadcasts against x with size 1 along `axis`. alpha = 2
    is sparsemax; at alpha = 1 call `softmax`. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.entmax(jnp.array([1.5, 1.0, 0.0]), alpha=1.25)]
    [0.605, 0.329, 0.066]
    """
    return Entmax(alpha=alpha)(x, axis=axis, where=where)


def entmax15(x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """Entmax at alpha = 1.5: p_j = [z_j / 2 - tau]_+^2.

    The same map as `entmax(x, alpha=1.5)` in squares instead of powers: faster, and
    without a gradient to alpha. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.entmax15(jnp.array([1.5, 1.0, 0.0]))]
    [0.671, 0.324, 0.005]
    """
    return Entmax15()(x, axis=axis, where=where)
