"""Heads over blocks of queries: O(T) memory in plain jnp.

Each block meets its whole key rows, so any normalizer works unchanged, and nothing but
the operands is kept for the backward pass (`jax.checkpoint`). There is no derivative of
our own: forward mode and higher orders come for free. Examples and heads follow one
another, which keeps a block of scores in cache on a CPU.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.masks import key_range
from softmax_jax.attention.operands import (
    Operands,
    over_heads,
    over_leading_axis,
    sequential,
)
from softmax_jax.normalizers import rows

BLOCK = 256
# Each band is traced on its own, with its own static key range.
MAX_BANDS = 4
KEPT = jax.checkpoint_policies.save_only_these_names(rows.SEARCHED)


def by_blocks(f: Callable, operands: Operands, offset: int | None) -> Any:
    """f of every head, which it is given a block of queries at a time.

    `offset` is the static query offset, if there is one: then the keys that causality
    or a window rules out for a band of queries are never computed.
    """
    block = jax.checkpoint(f, policy=KEPT)

    def head(operands: Operands):
        bands = [block_rows(block, band) for band in split_bands(operands, offset)]
        return join_rows(bands)

    return over_heads(sequential, head, operands)


def split_bands(head: Operands, offset: int | None) -> list[Operands]:
    """One head cut into bands of queries, each with the keys it can see."""
    queries, keys = head.query.shape[0], head.key.shape[1]
    causal, window = head.mask.causal, head.mask.window
    if offset is None or not (causal or window):
        return [head]
    blocks_per_band = -(-queries // (BLOCK * MAX_BANDS))
    height = BLOCK * blocks_per_band
    bands = [range(i, min(i + height, queries)) for i in range(0, queries, height)]
    see = functools.partial(key_range, offset=offset, causal=causal, window=window)
    return [head.slice(rows, see(rows, keys)) for rows in bands]


def block_rows(block, band: Operands):
    """`block` over equal blocks of the band's queries, then over what remains."""
    queries, keys = band.query.shape[0], range(band.key.shape[1])
    full = queries // BLOCK
    outputs = []
    if full:
        whole = band.slice(range(full * BLOCK), keys).split_rows(full)
        parts = over_leading_axis(sequential, block, whole)
        outputs.append(jax.tree.map(merge_blocks, parts))
    if queries % BLOCK:
        outputs.append(block(band.slice(range(full * BLOCK, queries), keys)))
    return join_rows(outputs)


def merge_blocks(parts: Array) -> Array:
    """[blocks, BLOCK, ...] as [blocks * BLOCK, ...]."""
    return parts.reshape(-1, *parts.shape[2:])


def join_rows(parts):
    """Blocks of queries, one after another along the axis of queries."""
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
