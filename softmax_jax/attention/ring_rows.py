"""What a ring finds out about rows beside their outputs, each in a turn of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partial import Extent, extent
from softmax_jax.attention.statistics import Statistics
from softmax_jax.attention.turns import RESTS, Leaves, Ring
from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import Level, Ratio


def visible_count(around: Ring, operands: Operands) -> Array:
    """How many keys each query sees on all devices, [B, K, G, T, 1] with sizes 1."""
    keys = operands.key.shape[4]
    passed, resting, join = around.separate(operands, keys=RESTS)
    if join(passed, resting, jnp.int32(0)).visible() is None:
        return jnp.full((1,) * 5, keys * around.size, jnp.int32)

    def seen(passed: Leaves, source: Array) -> Array:
        visible = join(passed, resting, source).visible()
        visible = jnp.broadcast_to(visible, (*visible.shape[:-1], keys))
        return visible.sum(-1, keepdims=True, dtype=jnp.int32)

    def step(count: Array, passed: Leaves, source: Array):
        return count + seen(passed, source), passed

    shape = jax.eval_shape(seen, passed, jnp.int32(0))
    return around.turn(step, jnp.zeros(shape.shape, shape.dtype), passed)[0]


def statistics(
    around: Ring,
    operands: Operands,
    level: Level,
    count: Array,
    scale: Array,
    soft_cap: Array | None,
) -> Statistics:
    """As of whole rows: which weights are above 0 shows in a turn of its own."""
    known = operands.known._replace(level=level)
    fixed = dataclasses.replace(operands, known=known)
    fixed, scale, soft_cap = jax.lax.stop_gradient((fixed, scale, soft_cap))
    look = functools.partial(extent, scale=scale, soft_cap=soft_cap)
    passed, resting, join = around.separate(fixed)

    def part(passed: Leaves, source: Array) -> Extent:
        return around.plan.each_head(look, join(passed, resting, source))

    def step(found: Extent, passed: Leaves, source: Array):
        more = part(passed, source)
        higher = jnp.maximum(found.row_max, more.row_max)
        return Extent(higher, found.support_size + more.support_size), passed

    high, size = jax.eval_shape(part, passed, jnp.int32(0))
    start = Extent(
        jnp.full(high.shape, -jnp.inf, high.dtype), jnp.zeros(size.shape, size.dtype)
    )
    (row_max, support_size), _ = around.turn(step, start, passed)
    shape, lse = row_max.shape, None
    if isinstance(operands.normalizer, Ratio):
        lse = level.top + rows.log(level.unknown)
        lse = jnp.broadcast_to(lse, shape)[..., 0]
    return Statistics(
        lse=lse,
        tau=None,
        row_max=jnp.where(row_max == -jnp.inf, 0, row_max)[..., 0],
        support_size=support_size[..., 0],
        visible_count=jnp.broadcast_to(count, shape)[..., 0].astype(row_max.dtype),
    )
