"""Sequences split over devices, for rows that every device is given whole.

Both ways serve every normalizer: what a device computes is attention as ever, with the
operands of `Operands`, [B, K, G, ...].
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.masks import key_range
from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partition import Partition, devices, names
from softmax_jax.attention.plan import Plan, Results
from softmax_jax.normalizers.base import compute_dtype


def gather(
    plan: Plan,
    partition: Partition,
    operands: Operands,
    scale: Array,
    soft_cap: Array | None,
) -> Results:
    """Own queries with the keys of all devices.

    Where the device of a block of queries decides which keys causality rules out, none
    is left out. In the balanced order every device has half of its queries in the first
    half of the sequence, and `chunked` never computes the other half of their keys.
    """
    collect = functools.partial(all_keys, axes=names(partition.sequence))
    whole = dataclasses.replace(
        operands, key=collect(operands.key), value=collect(operands.value)
    )
    parts = devices(partition.sequence)
    if parts == 1:
        return plan.attend(whole, scale, soft_cap)
    loose = dataclasses.replace(plan, offset=None)
    offset = _ruling_out(plan, operands, partition)
    if offset is None:
        return loose.attend(whole, scale, soft_cap)
    whole = whole.map(of_keys=functools.partial(natural, axis=-1, parts=parts))
    mask, own = whole.mask, whole.query.shape[3]
    queries, keys = parts * own, whole.key.shape[4]
    see = functools.partial(
        key_range, keys=keys, offset=offset, causal=mask.causal, window=mask.window
    )
    halves = [
        (range(own // 2), see(range(queries // 2))),
        (range(own // 2, own), see(range(queries // 2, queries))),
    ]
    attended = [
        loose.attend(whole.slice(rows, keys), scale, soft_cap) for rows, keys in halves
    ]
    return jax.tree.map(lambda *halves: jnp.concatenate(halves, axis=3), *attended)


def all_keys(array: Array, axes: tuple[str, ...]) -> Array:
    """[..., S] of all devices' parts; gradients are summed in float32 or wider."""
    if compute_dtype(array.dtype) == array.dtype:
        return jax.lax.all_gather(array, axes, axis=4, tiled=True)
    return _all_keys_narrow(array, axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _all_keys_narrow(array: Array, axes: tuple[str, ...]) -> Array:
    return jax.lax.all_gather(array, axes, axis=4, tiled=True)


def _all_keys_forward(array: Array, axes: tuple[str, ...]) -> tuple[Array, None]:
    return _all_keys_narrow(array, axes), None


def _all_keys_backward(
    axes: tuple[str, ...], _: None, cotangent: Array
) -> tuple[Array]:
    wide = cotangent.astype(compute_dtype(cotangent.dtype))
    own = jax.lax.psum_scatter(wide, axes, scatter_dimension=4, tiled=True)
    return (own.astype(cotangent.dtype),)


_all_keys_narrow.defvjp(_all_keys_forward, _all_keys_backward)


def ulysses(
    plan: Plan,
    partition: Partition,
    operands: Operands,
    scale: Array,
    soft_cap: Array | None,
) -> Results:
    """Own heads with the queries and keys of all devices."""
    exchange = functools.partial(
        jax.lax.all_to_all, axis_name=partition.sequence, tiled=True
    )
    whole = dataclasses.replace(
        operands,
        query=exchange(operands.query, split_axis=1, concat_axis=3),
        key=exchange(operands.key, split_axis=1, concat_axis=4),
        value=exchange(operands.value, split_axis=1, concat_axis=4),
    )
    parts = devices(partition.sequence)
    if not partition.balanced:
        attended = plan.attend(whole, scale, soft_cap)
    elif _ruling_out(plan, operands, partition) is None:
        loose = dataclasses.replace(plan, offset=None)
        attended = loose.attend(whole, scale, soft_cap)
    else:
        order = functools.partial(natural, parts=parts)
        whole = whole.map(
            functools.partial(order, axis=-2), functools.partial(order, axis=-1)
        )
        attended = plan.attend(whole, scale, soft_cap)
        attended = jax.tree.map(
            functools.partial(balanced, axis=3, parts=parts), attended
        )
    return jax.tree.map(
        functools.partial(exchange, split_axis=3, concat_axis=1), attended
    )


def natural(array: Array, axis: int, parts: int) -> Array:
    """Tokens in the balanced order of so many parts, as they follow one another."""
    axis = axis % array.ndim
    size = array.shape[axis]
    pairs = (*array.shape[:axis], parts, 2, -1, *array.shape[axis + 1 :])
    first, last = jnp.moveaxis(array.reshape(pairs), axis + 1, 0)
    half = (*array.shape[:axis], size // 2, *array.shape[axis + 1 :])
    chunks = (first.reshape(half), jnp.flip(last, axis).reshape(half))
    return jnp.concatenate(chunks, axis)


def balanced(array: Array, axis: int, parts: int) -> Array:
    """The inverse of `natural`."""
    axis = axis % array.ndim
    halves = (*array.shape[:axis], 2, parts, -1, *array.shape[axis + 1 :])
    first, last = jnp.moveaxis(array.reshape(halves), axis, 0)
    chunks = jnp.stack((first, jnp.flip(last, axis)), axis + 1)
    return chunks.reshape(array.shape)


def _ruling_out(plan: Plan, operands: Operands, partition: Partition) -> int | None:
    """The query offset, if positions in the balanced order, known when traced, rule out
    keys that chunks can leave out.
    """
    limited = operands.mask.causal or operands.mask.window is not None
    helps = partition.balanced and limited and plan.implementation == "chunked"
    return plan.offset if helps else None
