"""Sequences split over devices, their keys and values passed around.

A device holds its own part and the one that is passing. The backward pass is a second
turn, in which the gradients of keys and values travel with them: nothing but operands
and one number per row is kept between the two.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partial import (
    Partial,
    finish,
    merge,
    nothing,
    partial,
    with_counts,
)
from softmax_jax.attention.partition import Partition
from softmax_jax.attention.plan import Plan, Results
from softmax_jax.attention.ring_rows import statistics, visible_count
from softmax_jax.attention.turns import Leaves, Ring, sort_floats
from softmax_jax.normalizers.base import compute_dtype


def ring(
    plan: Plan,
    partition: Partition,
    pairs: tuple[str, ...],
    operands: Operands,
    scale: Array,
    soft_cap: Array | None,
) -> Results:
    """Own queries with all keys as they come by; `pairs` as of `how_pair_lies`."""
    around = Ring(dataclasses.replace(plan, offset=None), partition, pairs)
    dtype = compute_dtype(operands.query.dtype)
    scale = jnp.asarray(scale, dtype)
    count = visible_count(around, operands)
    n = jnp.maximum(count, 1).astype(dtype)
    counted = with_counts(operands, n, scale)
    total = sums(around, counted, scale, soft_cap)
    values, level = finish(counted.normalizer, total)
    stats = None
    if plan.return_stats:
        stats = statistics(around, counted, level, count, scale, soft_cap)
    return values.astype(operands.query.dtype), None, stats


def sums(
    around: Ring, operands: Operands, scale: Array, soft_cap: Array | None
) -> Partial:
    """The sums over the keys of all devices."""
    passed, resting, join = around.separate(operands)
    floats, others = sort_floats(passed, resting)

    def part(operands: Operands, extras: tuple[Array, Array | None]) -> Partial:
        return part_of_sums(around, operands, *extras)

    @jax.custom_vjp
    def total(floats, others):
        (passed, resting, extras), (passed_others, resting_others) = floats, others

        def step(total: Partial, passed: Leaves, source: Array):
            at_hand = join(passed, resting | resting_others, source)
            return merge(total, part(at_hand, extras)), passed

        return around.turn(step, nothing(operands), passed | passed_others)[0]

    def forward(floats, others):
        found = total(floats, others)
        return found, (floats, others, found.top)

    def backward(saved, cotangent: Partial):
        (passed, resting, extras), (passed_others, resting_others), top = saved

        def step(of_resting, travelling, source: Array):
            passed, passed_others, of_passed = travelling

            def at_top(passed: Leaves, resting: Leaves, extras):
                at_hand = join(passed | passed_others, resting | resting_others, source)
                known = at_hand.known._replace(top=top)
                found = part(dataclasses.replace(at_hand, known=known), extras)
                return found.mass, found.values

            _, pull = jax.vjp(at_top, passed, resting, extras)
            more, *at_rest = pull((cotangent.mass, cotangent.values))
            travelling = passed, passed_others, _add(of_passed, more)
            return _add(of_resting, tuple(at_rest)), travelling

        wide = functools.partial(_zeros, dtype=scale.dtype)
        start = passed, passed_others, wide(passed)
        of_resting, travelling = around.turn(step, wide((resting, extras)), start)
        of_passed = around.pass_on(travelling[2])
        found = (of_passed, *of_resting)
        given = (passed, resting, extras)
        return jax.tree.map(lambda x, like: x.astype(like.dtype), found, given), None

    total.defvjp(forward, backward)
    return total((*floats, (scale, soft_cap)), others)


def part_of_sums(
    around: Ring, operands: Operands, scale: Array, soft_cap: Array | None
) -> Partial:
    """Over the keys at hand, but for blocks of them that positions rule out.

    In the balanced order those are half of the blocks that two chunks of queries make
    with two chunks of keys, on every device and at every step but the first.
    """
    compute = functools.partial(
        around.plan.each_head,
        functools.partial(partial, scale=scale, soft_cap=soft_cap),
    )

    def block(rows: range, keys: range) -> Partial:
        own = operands.slice(rows, keys)
        reachable = own.mask.reachable()
        if reachable is True:
            return compute(own)
        return jax.lax.cond(reachable, compute, nothing, own)

    rows, keys = map(around.chunks, (operands.query.shape[3], operands.key.shape[4]))
    sums = [functools.reduce(merge, [block(own, k) for k in keys]) for own in rows]
    return jax.tree.map(lambda *chunks: jnp.concatenate(chunks, axis=3), *sums)


def _zeros(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, dtype), tree)


def _add(total: Any, more: Any) -> Any:
    return jax.tree.map(lambda x, y: x + y.astype(x.dtype), total, more)
