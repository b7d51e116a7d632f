"""Which blocks hold something of a support, as lists that the backward walks follow."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.mosaic_gpu.call import ROWS
from softmax_jax.attention.kernels.mosaic_gpu.problem import Lists, Places, Problem
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range


def lists_of(problem: Problem, places: Places, touched: Array) -> Lists:
    """`touched` is of every 64 queries and block of keys of the forward pass."""
    blocks, keys = problem.blocks, problem.keys_of_tile
    fine = jnp.repeat(touched, blocks.forward // ROWS, axis=3)
    t, s = (ROWS * size for size in fine.shape[2:])
    ratio = blocks.forward // blocks.dq
    if places.of_queries is not None and places.of_keys is not None:
        of_queries, of_keys = places.of_queries * jnp.int32(ratio), places.of_keys
    else:
        sight = problem.sight
        of_queries = _every(sight.keys, t, 2 * ROWS, blocks.dq)
        of_keys = _every(sight.queries, s, keys, blocks.dkv)
    by_query = _pooled(fine, 2 * ROWS, blocks.dq)
    by_key = _pooled(fine, blocks.dkv, keys).swapaxes(2, 3)
    return Lists(*_listed(by_query, of_queries), *_listed(by_key, of_keys))


def _every(ranges: Any, length: int, rows: int, block: int) -> Array:
    """The static ranges of all tiles, [1, tiles, 4]."""
    first = jnp.arange(0, length, rows, dtype=jnp.int32)
    found: Range = ranges(first, rows, block)
    return jnp.stack([jnp.broadcast_to(x, first.shape) for x in found], axis=1)[None]


def _pooled(fine: Array, rows: int, columns: int) -> Array:
    """Whether something of larger tiles is touched."""
    rows, columns = rows // ROWS, columns // ROWS
    *lead, t, s = fine.shape
    parts = fine.reshape(*lead, t // rows, rows, s // columns, columns)
    return parts.any((3, 5))


def _listed(touched: Array, ranges: Array) -> tuple[Array, Array]:
    """Ranges and lists; what was never visited was never written, and is not read."""
    place = jnp.arange(touched.shape[3], dtype=jnp.int32).reshape(1, 1, 1, -1)
    begin, whole, rest, end = (ranges[:, None, :, i : i + 1] for i in range(4))
    here = touched & (place >= begin) & (place < end)
    cut = here & ((place < whole) | (place >= rest))
    order = jnp.argsort(jnp.where(cut, 0, jnp.where(here, 1, 2)), axis=3, stable=True)
    first, every = (x.sum(axis=3, dtype=jnp.int32) for x in (cut, here))
    found = jnp.stack([jnp.zeros_like(first), first, every, every], axis=3)
    return found, order.astype(jnp.int32)
