"""What a mask compares, as vectors of positions and segments."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.masks import Mask


class Places(NamedTuple):
    """What the mask compares, without derivatives: int32 and int8."""

    q_position: Array  # [B, 1, 1, 1, T]
    k_position: Array  # [B, 1, 1, 1, S]
    q_segment: Array | None
    k_segment: Array | None
    boolean: Array | None  # [B, K, G, T, S]


# A segment of nobody, for queries and for keys that are only padding.
NO_QUERY, NO_KEY = -(2**31) + 1, -(2**31) + 2


def places_of(
    mask: Mask, blocks: tuple[int, int], t: int, s: int, *, ragged: bool
) -> Places:
    """What the mask compares, the padding as a segment of nobody."""
    q, k = blocks

    def along_rows(x: Array) -> Array:
        return jnp.swapaxes(x, -1, -2)

    q_segment, k_segment = mask.query_segment, mask.key_segment
    alive = mask.query_alive is not None or mask.key_alive is not None
    if q_segment is None and (alive or ragged):
        q_segment = jnp.zeros((1, 1, 1, t, 1), jnp.int32)
        k_segment = jnp.zeros((1, 1, 1, 1, s), jnp.int32)
    if q_segment is not None and k_segment is not None:
        if mask.query_alive is not None:
            q_segment = jnp.where(mask.query_alive, q_segment, NO_QUERY)
        if mask.key_alive is not None:
            k_segment = jnp.where(mask.key_alive, k_segment, NO_KEY)
        q_segment = padded(along_rows(q_segment), q, 4, NO_QUERY)
        k_segment = padded(k_segment, k, 4, NO_KEY)
    boolean = mask.boolean
    if boolean is not None:
        boolean = padded(padded(boolean.astype(jnp.int8), q, 3), k, 4)
    return Places(
        q_position=padded(along_rows(mask.query_position), q, 4),
        k_position=padded(mask.key_position, k, 4),
        q_segment=q_segment,
        k_segment=k_segment,
        boolean=boolean,
    )


def padded(x: Any, block: int, axis: int, fill: int = 0) -> Any:
    """x up to a multiple of `block`; None and sizes of 1 are left as they are."""
    if x is None or x.shape[axis] == 1 or x.shape[axis] % block == 0:
        return x
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, pads, constant_values=fill)
