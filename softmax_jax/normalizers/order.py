"""Order statistics of masked rows, by bisection on the bits of a float: no sorting."""

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.rows import Rows, Statistic, Visible


def kth_largest(z: Rows, visible: Visible, k: int) -> Statistic:
    """The k-th largest visible score, or the smallest where fewer are visible."""
    n = rows.visible_count(z, visible)
    return order_statistic(z, visible, jnp.maximum(n - k, 0))


def quantile(z: Rows, visible: Visible, r: Statistic) -> Statistic:
    """The r-quantile of the visible scores, linear between order statistics.

    It stands at position r (n - 1) of the ascending scores; differentiable in z and r.
    """
    last = rows.visible_count(z, visible) - 1
    position = jnp.clip(r * last, 0, last)
    rank = jax.lax.stop_gradient(jnp.floor(position))
    low = order_statistic(z, visible, rank)
    return low + (position - rank) * (_next(z, visible, rank, low) - low)


def maximum(z: Rows, visible: Visible) -> Statistic:
    """The largest visible score with its gradient, 0 if none is."""
    return _with_gradient(rows.maximum(z, visible), z, visible)


def order_statistic(z: Rows, visible: Visible, rank: Statistic) -> Statistic:
    """The visible score with `rank` scores below it, counted from 0; 0 if none is.

    Tied scores share the gradient evenly, which keeps it equivariant.
    """
    value = jax.lax.stop_gradient(_select(z, visible, rank))
    return _with_gradient(value, z, visible)


def _with_gradient(value: Statistic, z: Rows, visible: Visible) -> Statistic:
    """`value`, with the gradient of the mean of the visible scores equal to it."""
    here = z == value
    here = here if visible is None else here & visible
    count = jnp.maximum(here.sum(-1, keepdims=True), 1).astype(z.dtype)
    moved = jnp.where(here, z - value, 0).sum(-1, keepdims=True) / count
    return value + moved


def _next(z: Rows, visible: Visible, rank: Statistic, low: Statistic) -> Statistic:
    """The order statistic after `rank`, whose own value is `low`."""
    fixed = jax.lax.stop_gradient(low)
    above = rows.hide(jax.lax.stop_gradient(z), visible, jnp.inf)
    above = jnp.where(above > fixed, above, jnp.inf).min(-1, keepdims=True)
    not_above = (z <= fixed) if visible is None else (z <= fixed) & visible
    tied = not_above.sum(-1, keepdims=True).astype(z.dtype) >= rank + 2
    value = jnp.where(tied | (above == jnp.inf), fixed, above)
    return _with_gradient(value, z, visible)


def _select(z: Rows, visible: Visible, rank: Statistic) -> Statistic:
    """The largest value that has at most `rank` visible scores below it."""
    keys = _ordered_bits(z)
    one = jnp.ones((), keys.dtype)
    highest = ~jnp.zeros((), keys.dtype)
    if visible is not None:
        keys = jnp.where(visible, keys, highest)
    bits = jnp.iinfo(keys.dtype).bits

    def step(i, found):
        trial = found | (one << (bits - 1 - i).astype(keys.dtype))
        below = (keys < trial).sum(-1, keepdims=True).astype(rank.dtype)
        return jnp.where(below <= rank, trial, found)

    shape = jnp.broadcast_shapes((*z.shape[:-1], 1), rank.shape)
    found = jax.lax.fori_loop(0, bits, step, jnp.zeros(shape, keys.dtype))
    return jnp.where(found == highest, 0, _from_ordered_bits(found, z.dtype))


def _ordered_bits(z: Array) -> Array:
    """Unsigned integers in the order of the floats they stand for."""
    unsigned = jnp.dtype(f"uint{jnp.finfo(z.dtype).bits}")
    bits = jax.lax.bitcast_convert_type(z, unsigned)
    sign = jnp.ones((), unsigned) << (jnp.iinfo(unsigned).bits - 1)
    return jnp.where((bits & sign) != 0, ~bits, bits | sign)


def _from_ordered_bits(bits: Array, dtype) -> Array:
    sign = jnp.ones((), bits.dtype) << (jnp.iinfo(bits.dtype).bits - 1)
    return jax.lax.bitcast_convert_type(
        jnp.where((bits & sign) != 0, bits ^ sign, ~bits), dtype
    )
