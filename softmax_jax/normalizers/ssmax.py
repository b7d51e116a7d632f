"""Scalable-Softmax: a temperature that follows the number of keys."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import parameter


class SSMax(Ratio):
    """p_j = softmax((s log n + b) z)_j, with n the number of visible keys.

    For b = 0 this is n^(s z_j) / sum_i n^(s z_i). A score that leads by D keeps its
    weight as n grows when s D > 1; softmax loses it at any D. The default s makes the
    mean multiplier over a causal row of 1024 keys 1.
    """

    formula = "softmax((s log n + b) z)"
    paper = "arXiv 2501.19399"
    tags = frozenset({"simplex", "shift_invariant", "symmetric_jacobian"})

    scale: ArrayLike = parameter(0.168)
    bias: ArrayLike = parameter(0.0, learned=False)

    def multiplier(self, n: Array) -> Array:
        return jnp.log(n) * self.scale + self.bias

    def log_weight(self, z: Array) -> Array:
        return z


def ssmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    scale: ArrayLike = 0.168,
    bias: ArrayLike = 0.0,
) -> Array:
    """p_j = softmax((s log n + b) z)_j, with n the number of visible keys.

    n counts what is visible in each row: it follows causal masks, windows and padding.
    The bias belongs to the multiplier; added to the scores it would do nothing.
    `scale` and `bias` broadcast against x with size 1 along `axis`; masks as in
    `softmax`. Figure 1 of the paper: one score of 3 above n - 1 scores of -2, s = 0.43:

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> x = jnp.full(10_000, -2.0).at[-1].set(3.0)
    >>> [round(float(f[-1]), 4) for f in (sj.softmax(x), sj.ssmax(x, scale=0.43))]
    [0.0146, 1.0]
    """
    return SSMax(scale=scale, bias=bias)(x, axis=axis, where=where)
