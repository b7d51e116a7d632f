"""Order statistics of masked rows, by counting the scores below trials: no sorting."""

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
    value = rows.searched(jax.lax.stop_gradient(_select(z, visible, rank)))
    return _with_gradient(value, z, visible)


def _with_gradient(value: Statistic, z: Rows, visible: Visible) -> Statistic:
    """`value`, with the gradient of the mean of the visible scores equal to it."""
    here = z == value
    here = here if visible is None else here & visible
    count = jnp.maximum(_count(here, z.dtype), 1)
    moved = jnp.where(here, z - value, 0).sum(-1, keepdims=True) / count
    return value + moved


def _next(z: Rows, visible: Visible, rank: Statistic, low: Statistic) -> Statistic:
    """The order statistic after `rank`, whose own value is `low`."""
    fixed = jax.lax.stop_gradient(low)
    above = rows.hide(jax.lax.stop_gradient(z), visible, jnp.inf)
    above = jnp.where(above > fixed, above, jnp.inf).min(-1, keepdims=True)
    not_above = (z <= fixed) if visible is None else (z <= fixed) & visible
    tied = _count(not_above, z.dtype) >= rank + 2
    value = jnp.where(tied | (above == jnp.inf), fixed, above)
    return _with_gradient(value, z, visible)


def _select(z: Rows, visible: Visible, rank: Statistic) -> Statistic:
    """The visible score with `rank` scores below it: the least not below `_floor`."""
    shown = rows.hide(z, visible, jnp.inf)
    top = rows.maximum(z, visible)
    above = shown >= _floor(shown, top, rows.visible_count(z, visible), rank)
    found = _minimum(jnp.where(above, shown, jnp.inf))
    # Nothing was found among no scores, whose top is 0, nor beside a NaN.
    return jnp.where(found <= top, found, top)


def _floor(z: Rows, top: Statistic, n: Statistic, rank: Statistic) -> Statistic:
    """A number with `rank` of n scores below it, or else the score of that rank itself.

    Every pass counts the scores below a trial between two that enclose it. Trials take
    turns: where the logit of the share of scores below, which for scores in a bell is
    close to a line, meets the rank's; and halfway in bits, which ends on any scores.
    """
    low, high = _minimum(z), jnp.nextafter(top, jnp.full_like(top, jnp.inf))

    def logit(count: Array) -> Array:
        return jnp.log((count + 0.5) / (n - count + 0.5))

    def step(state):
        low, high, below_low, below_high, i = state
        start, end = _ordered_bits(low), _ordered_bits(high)
        middle = _from_ordered_bits(start + (end - start) // 2, z.dtype)
        ends = logit(below_low), logit(below_high)
        line = low + (high - low) * (logit(rank) - ends[0]) / (ends[1] - ends[0])
        trial = jnp.where((i % 2 == 0) & (line > low) & (line < high), line, middle)
        below = _count(z < trial, z.dtype)
        left = below <= rank
        return (
            jnp.where(left, trial, low),
            jnp.where(left, high, trial),
            jnp.where(left, below, below_low),
            jnp.where(left, below_high, below),
            i + 1,
        )

    def unfinished(state):
        low, high, below_low, _, i = state
        adjacent = _ordered_bits(high) - _ordered_bits(low) <= 1
        searching = (below_low < rank) & ~adjacent
        return jnp.any(searching) & (i < 2 * jnp.finfo(z.dtype).bits)

    low, high, rank = jnp.broadcast_arrays(low, high, rank)
    state = (low, high, jnp.zeros_like(rank), jnp.broadcast_to(n, rank.shape), 0)
    return jax.lax.while_loop(unfinished, step, state)[0]


def _minimum(z: Rows) -> Statistic:
    return z.min(-1, keepdims=True, initial=jnp.inf)


def _count(condition: Array, dtype) -> Statistic:
    """How many hold, in floats: XLA stores what it counts in integers."""
    return condition.astype(dtype).sum(-1, keepdims=True)


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
