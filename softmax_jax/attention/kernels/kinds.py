"""What a mask says of every tile of scores: hidden, whole, or cut."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from softmax_jax.attention.kernels.places import NO_KEY, NO_QUERY, Places
from softmax_jax.attention.masks import Window

HIDDEN, PARTLY, WHOLE = 0, 1, 2


def kinds(
    places: Places,
    blocks: tuple[int, int],
    *,
    causal: bool,
    window: Window,
    offset: int | None,
    lengths: tuple[int, int],
    masked: bool,
) -> Any:
    """Of every tile of `blocks` queries and keys, [B or 1, rows, columns].

    It is an array of numpy where the offset of the first query is static, and made of
    `places` where it is None. `lengths` are those before the axes were padded.
    `masked` says that a tile may hide more than its positions and segments tell.
    """
    if offset is None:
        q = _traced(places.q_position, places.q_segment, NO_QUERY, blocks[0])
        k = _traced(places.k_position, places.k_segment, NO_KEY, blocks[1])
    else:
        q = _static(places.q_position, offset, lengths[0], blocks[0])
        k = _static(places.k_position, 0, lengths[1], blocks[1])
    return kinds_of(q, k, causal, window, masked=masked)


def _static(position: Array, first: int, length: int, block: int) -> "Axis":
    place = np.arange(position.shape[-1])[None]
    return axis_of(place + first, place < length, None, block)


def _traced(position: Array, segment: Array | None, nobody: int, block: int) -> "Axis":
    position = position.reshape(-1, position.shape[-1])
    if segment is None:
        return axis_of(position, None, None, block)
    segment = segment.reshape(-1, segment.shape[-1])
    rows = max(position.shape[0], segment.shape[0])
    position = jnp.broadcast_to(position, (rows, position.shape[1]))
    segment = jnp.broadcast_to(segment, (rows, segment.shape[1]))
    return axis_of(position, segment != nobody, segment, block)


def kinds_of(q: "Axis", k: "Axis", causal: bool, window: Window, masked: bool) -> Any:
    """What the mask says of every tile, [B or 1, rows, columns].

    `masked` says that a tile may hide more than its positions and segments tell.
    """
    below = q.low[:, :, None], k.low[:, None, :]
    above = q.high[:, :, None], k.high[:, None, :]
    (q_low, k_low), (q_high, k_high) = below, above
    some = (q_low <= q_high) & (k_low <= k_high)
    every = q.alive[:, :, None] & k.alive[:, None, :]
    if causal:
        some, every = some & (k_low <= q_high), every & (k_high <= q_low)
    if window is not None:
        left, right = window
        some &= (k_high >= q_low - left) & (k_low <= q_high + right)
        every &= (k_low >= q_high - left) & (k_high <= q_low + right)
    if q.first is not None:
        some &= q.first[:, :, None] <= k.last[:, None, :]
        some &= k.first[:, None, :] <= q.last[:, :, None]
        every &= (q.first == q.last)[:, :, None] & (k.first == k.last)[:, None, :]
        every &= q.first[:, :, None] == k.first[:, None, :]
    if masked:
        every = every & False
    return some.astype(np.int32) + (some & every).astype(np.int32)


class Axis(NamedTuple):
    """Of every block along an axis, [B or 1, blocks]."""

    low: Any  # positions
    high: Any
    alive: Any  # whether all of it is
    first: Any = None  # segments
    last: Any = None


def axis_of(position: Any, alive: Any, segment: Any, block: int) -> Axis:
    """`position`, `alive` and `segment` are [B or 1, blocks * block], or None."""
    xp = np if isinstance(position, np.ndarray) else jnp
    large = np.iinfo(np.int32).max

    def split(x):
        return x.reshape(x.shape[0], -1, block)

    def ends(x):
        if alive is None:
            return split(x).min(-1), split(x).max(-1)
        low = xp.where(alive, x, large)
        high = xp.where(alive, x, -large)
        return split(low).min(-1), split(high).max(-1)

    low, high = ends(position)
    all_alive = xp.ones_like(low, dtype=bool) if alive is None else split(alive).all(-1)
    if segment is None:
        return Axis(low, high, all_alive)
    return Axis(low, high, all_alive, *ends(segment))
