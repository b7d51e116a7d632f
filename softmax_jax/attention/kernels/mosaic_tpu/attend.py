"""Attention by kernels for TPUs: from `Operands` to the arrays of a kernel and back."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.mosaic_tpu import chips
from softmax_jax.attention.kernels.mosaic_tpu.call import Blocks
from softmax_jax.attention.kernels.mosaic_tpu.fused import fused
from softmax_jax.attention.kernels.mosaic_tpu.problem import Inputs, Problem
from softmax_jax.attention.kernels.places import padded, places_of
from softmax_jax.attention.kernels.prepare import (
    folded,
    key_count,
    multiplied,
    only_positions,
    without_unseen,
)
from softmax_jax.attention.kernels.tiles import reads_scores
from softmax_jax.attention.kernels.twins import Constants
from softmax_jax.attention.operands import Operands

DTYPES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32))


def mosaic_tpu(
    operands: Operands,
    scale: ArrayLike,
    soft_cap: ArrayLike | None,
    *,
    offset: int | None,
    known: Constants = (),
    bounded: bool = False,
    blocks: tuple[int, int] | None = None,
    generation: str | None = None,
) -> Array:
    """Outputs [B, K, G, T, V]; NotImplementedError says what the kernels cannot do.

    `offset` is that of the first query where it is static and no position is unusual.
    `known` is what `constants` says of the normalizer before its parameters became
    arrays, and `bounded` what `is_bounded` does. `blocks` are queries and keys per
    tile, multiples of 128, and `generation` the chips' ("v6e"): by default, what suits
    those in use.
    """
    check(operands)
    t, s = operands.query.shape[3], operands.key.shape[4]
    mask = operands.mask
    plain = offset is not None and only_positions(operands)
    operands = without_unseen(operands, offset if plain else None)
    n = key_count(operands, offset if plain else None)
    c, normalizer = multiplied(operands, n, jnp.asarray(scale, jnp.float32))
    if reads_scores(normalizer, n):
        raise NotImplementedError(
            f"implementation='mosaic_tpu' has no {type(normalizer).__name__}: what it "
            "selects depends on the order of the scores of a row"
        )
    normalizer = normalizer.rows(n, jnp.zeros((1,) * 5), None)
    tile, fold, rows, log_c = folded(
        normalizer,
        c,
        scale,
        soft_cap,
        known=known,
        bounded=bounded,
        has_bias=operands.bias is not None,
        exact=operands.query.dtype == jnp.float32,
    )
    chip = chips.generation() if generation is None else generation
    size, back = _blocks(operands, chip, blocks)
    ragged = t % size.q > 0 or s % size.k > 0
    problem = Problem(
        tile=tile,
        blocks=size,
        causal=mask.causal,
        window=mask.window,
        offset=offset if plain else None,
        lengths=(t, s),
        back=back,
        roomy=chips.roomy(chip, operands.value.shape[3], exact=tile.exact),
    )
    x = Inputs(
        q=padded(operands.query, size.q, 3),
        k=padded(operands.key, size.k, 4),
        v=padded(operands.value, size.k, 4),
        fold=padded(jnp.broadcast_to(fold, _rows_shape(fold, t, 3)), size.q, 3),
        bias=padded(padded(operands.bias, size.q, 3), size.k, 4),
        log_c=None if log_c is None else _row(log_c, t, size.q),
        rows={name: _row(row, t, size.q) for name, row in rows.items()},
    )
    places = places_of(mask, (size.q, size.k), t, s, ragged=ragged)
    return fused(problem, x, places)[:, :, :, :t]


def check(operands: Operands) -> None:
    """Refuses what the kernels have no memory or units for."""
    dtype = operands.query.dtype
    if dtype not in DTYPES:
        raise NotImplementedError(
            f"implementation='mosaic_tpu' computes in bfloat16 and float32, got {dtype}"
        )
    widths = operands.query.shape[-1], operands.value.shape[3]
    if max(widths) > 256:
        raise NotImplementedError(
            f"implementation='mosaic_tpu' has heads of width up to 256, got {widths}"
        )


def _blocks(
    operands: Operands, chip: str | None, wanted: tuple[int, int] | None
) -> tuple[Blocks, Blocks]:
    """Tiles of the forward and of the backward kernel, which share one padding."""
    if wanted is not None:
        return Blocks(*wanted), Blocks(*wanted)
    t, s = operands.query.shape[3], operands.key.shape[4]
    mask, width = operands.mask, max(operands.query.shape[4], operands.value.shape[3])
    exact = operands.query.dtype == jnp.float32
    known = chips.tiles(chip, width, operands.normalizer, exact=exact)
    if mask.boolean is not None or operands.bias is not None:
        known = chips.PLAIN
    q, k = known.forward
    if mask.causal or mask.window is not None or mask.query_segment is not None:
        k = min(k, q)
    size = Blocks(chips.divided(t, q), chips.divided(s, k))
    q, k = known.backward
    return size, Blocks(_fitting(t, size.q, q), _fitting(s, size.k, k))


def _fitting(length: int, size: int, most: int) -> int:
    """`most`, or a part of it of at least `size`, if it divides the padded length."""
    padded_length = -(-length // size) * size
    while padded_length % most:
        most //= 2
        if most < size:
            return size
    return most


def _rows_shape(x: Array, t: int, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], t, *x.shape[axis + 1 :])


def _row(x: Array, t: int, block: int) -> Array:
    """Numbers of rows [B, K, G, T or 1, 1] as [B, K, G, 1, T], padded."""
    x = jnp.swapaxes(jnp.asarray(x, jnp.float32), -1, -2)
    return padded(jnp.broadcast_to(x, _rows_shape(x, t, 4)), block, 4)
