"""Attention by kernels for TPUs: from `Operands` to the arrays of a kernel and back.

What precedes the kernels is plain jnp, which JAX differentiates: counts of visible keys
and all that depends on them, multipliers folded into queries, parameters as numbers of
rows. Where the log weight is linear in the score, that is folded too, with log 2.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.mosaic_tpu import chips
from softmax_jax.attention.kernels.mosaic_tpu.call import Blocks
from softmax_jax.attention.kernels.mosaic_tpu.fused import fused
from softmax_jax.attention.kernels.mosaic_tpu.problem import (
    NO_KEY,
    NO_QUERY,
    Inputs,
    Places,
    Problem,
)
from softmax_jax.attention.kernels.tiles import (
    Tile,
    family_of,
    linear,
    reads_scores,
)
from softmax_jax.attention.kernels.twins import (
    LOG2_E,
    Constants,
    Power2,
    Twin,
    twin_of,
)
from softmax_jax.attention.masks import Mask
from softmax_jax.attention.operands import Operands
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.base import Seen

DTYPES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32))


def mosaic_tpu(
    operands: Operands,
    scale: ArrayLike,
    soft_cap: ArrayLike | None,
    *,
    offset: int | None,
    known: Constants = (),
    blocks: tuple[int, int] | None = None,
    generation: str | None = None,
) -> Array:
    """Outputs [B, K, G, T, V]; NotImplementedError says what the kernels cannot do.

    `offset` is that of the first query where it is static and no position is unusual.
    `known` is what `constants` says of the normalizer before its parameters became
    arrays. `blocks` are queries and keys per tile, multiples of 128, and `generation`
    the chips' ("v6e"): by default, what suits those in use.
    """
    check(operands)
    t, s = operands.query.shape[3], operands.key.shape[4]
    mask = operands.mask
    plain = offset is not None and only_positions(operands)
    operands = _without_unseen(operands, offset if plain else None)
    n = _count(operands, offset if plain else None)
    c, normalizer = _multiplied(operands, n, jnp.asarray(scale, jnp.float32))
    if reads_scores(normalizer, n):
        raise NotImplementedError(
            f"implementation='mosaic_tpu' has no {type(normalizer).__name__}: what it "
            "selects depends on the order of the scores of a row"
        )
    normalizer = normalizer.rows(n, jnp.zeros((1,) * 5), None)
    tile, fold, rows, log_c = _folded(
        normalizer,
        c,
        scale,
        soft_cap,
        known=known,
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
        q=_padded(operands.query, size.q, 3),
        k=_padded(operands.key, size.k, 4),
        v=_padded(operands.value, size.k, 4),
        fold=_padded(jnp.broadcast_to(fold, _rows_shape(fold, t, 3)), size.q, 3),
        bias=_padded(_padded(operands.bias, size.q, 3), size.k, 4),
        log_c=None if log_c is None else _row(log_c, t, size.q),
        rows={name: _row(row, t, size.q) for name, row in rows.items()},
    )
    places = _places(mask, size, t, s, ragged=ragged)
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


def only_positions(operands: Operands) -> bool:
    """Whether causality and a window are all that may hide a key."""
    mask = operands.mask
    others = (
        mask.boolean,
        mask.query_alive,
        mask.key_alive,
        mask.query_segment,
        mask.key_segment,
        operands.bias,
    )
    return all(other is None for other in others)


def _reach(mask: Mask, t: int, s: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last key that each query sees, where queries count up."""
    position = np.arange(t) + offset
    first, last = np.zeros(t, int), np.full(t, s - 1)
    if mask.causal:
        last = np.minimum(last, position)
    if mask.window is not None:
        first = np.maximum(first, position - mask.window[0])
        last = np.minimum(last, position + mask.window[1])
    return first, last


def _without_unseen(operands: Operands, offset: int | None) -> Operands:
    """Zeros for keys that no query of a group of heads sees, and for blind queries."""
    t, s = operands.query.shape[3], operands.key.shape[4]
    if offset is None:
        visible = operands.visible()
        if visible is None:
            return operands
        seen = visible.any(axis=(2, 3), keepdims=True)
        seeing = visible.any(axis=4, keepdims=True)
    else:
        first, last = _reach(operands.mask, t, s, offset)
        some = first <= last
        steps = np.zeros(s + 1, int)
        np.add.at(steps, first[some], 1)
        np.add.at(steps, last[some] + 1, -1)
        seen, seeing = np.cumsum(steps[:-1]) > 0, some
        if seeing.all() and seen.all():
            return operands
        seen, seeing = seen.reshape(1, 1, 1, 1, s), seeing.reshape(1, 1, 1, t, 1)
    return dataclasses.replace(
        operands,
        query=jnp.where(seeing, operands.query, 0),
        key=jnp.where(seen, operands.key, 0),
        value=jnp.where(seen, operands.value, 0),
    )


def _count(operands: Operands, offset: int | None) -> Array:
    """n, how many keys each query sees, [B, K, G, T, 1]; 1 where it sees none."""
    t, s = operands.query.shape[3], operands.key.shape[4]
    if offset is not None:
        first, last = _reach(operands.mask, t, s, offset)
        n = jnp.asarray(last - first + 1, jnp.float32).reshape(1, 1, 1, t, 1)
        return jnp.maximum(n, 1)
    visible = operands.visible()
    if visible is None:
        return jnp.full((1,) * 5, s, jnp.float32)
    shape = jnp.broadcast_shapes(visible.shape, (1, 1, 1, 1, s))
    seen = jnp.broadcast_to(visible, shape)
    return jnp.maximum(jnp.sum(seen, axis=-1, keepdims=True, dtype=jnp.float32), 1)


def _multiplied(operands: Operands, n: Array, scale: Array) -> tuple[Array, Normalizer]:
    """c of every row, [B, K, G, T, 1], and the normalizer without its own."""
    c = jnp.ones((1,) * 5, jnp.float32)
    if operands.query_scale is not None:
        key = operands.key.astype(jnp.float32)
        square = jnp.sum(key**2, axis=-2, keepdims=True)
        length = jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
        seen = Seen(n, operands.visible(), length, scale)
        c = c * operands.query_scale.multiplier(seen)
    own = operands.normalizer.multiplier(n)
    return (c if own is None else c * own), operands.normalizer


def _folded(
    normalizer: Normalizer,
    c: Array,
    scale: Any,
    soft_cap: ArrayLike | None,
    *,
    known: Constants = (),
    has_bias: bool,
    exact: bool,
) -> tuple[Tile, Array, dict[str, Array], Array | None]:
    """The rule, the multiplier of queries, the numbers of rows, and log c."""
    family = family_of(normalizer)
    constant = getattr(normalizer, "log_constant", lambda: None)()
    log_c = None
    if constant is not None:
        shape = (1,) * 5 if jnp.ndim(constant) < 5 else jnp.shape(constant)
        log_c = jnp.broadcast_to(jnp.asarray(constant, jnp.float32), shape)
    straight = linear(normalizer)
    if straight is not None:
        slope, start = straight
        c = c * slope * LOG2_E
        if log_c is not None:
            log_c = (log_c - start) * LOG2_E
        normalizer, family = Power2(), Twin
    twin = twin_of(normalizer, known, exact=exact)
    if twin is not None:
        normalizer, family = twin, Twin
        c = c * LOG2_E
        log_c = None if log_c is None else log_c * LOG2_E
    leaves, tree = jax.tree.flatten(normalizer)
    rows = {str(i): leaf for i, leaf in enumerate(leaves)}
    tile = Tile(tree, len(leaves), family, soft_cap is not None, exact)
    fold = jnp.asarray(scale, jnp.float32).reshape((1,) * 5)
    if soft_cap is not None:
        cap = jnp.asarray(soft_cap, jnp.float32).reshape((1,) * 5)
        rows["score"] = c * cap
        fold = fold / cap
    elif has_bias:
        rows["score"] = c
    else:
        fold = fold * c
    if has_bias:
        rows["bias"] = c
    return tile, fold, rows, log_c


def _places(mask: Mask, size: Blocks, t: int, s: int, *, ragged: bool) -> Places:
    """What the mask compares, the padding as a segment of nobody."""

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
        q_segment = _padded(along_rows(q_segment), size.q, 4, NO_QUERY)
        k_segment = _padded(k_segment, size.k, 4, NO_KEY)
    boolean = mask.boolean
    if boolean is not None:
        boolean = _padded(_padded(boolean.astype(jnp.int8), size.q, 3), size.k, 4)
    return Places(
        q_position=_padded(along_rows(mask.query_position), size.q, 4),
        k_position=_padded(mask.key_position, size.k, 4),
        q_segment=q_segment,
        k_segment=k_segment,
        boolean=boolean,
    )


def _blocks(
    operands: Operands, chip: str | None, wanted: tuple[int, int] | None
) -> tuple[Blocks, Blocks]:
    """Tiles of the forward and of the backward kernel, which share one padding."""
    if wanted is not None:
        return Blocks(*wanted), Blocks(*wanted)
    t, s = operands.query.shape[3], operands.key.shape[4]
    mask, width = operands.mask, max(operands.query.shape[4], operands.value.shape[3])
    known = chips.tiles(chip, width, exact=operands.query.dtype == jnp.float32)
    if mask.boolean is not None or operands.bias is not None:
        known = chips.PLAIN
    q, k = known.forward
    if mask.causal or mask.window is not None or mask.query_segment is not None:
        k = min(k, q)
    size = Blocks(chips.divided(t, q), chips.divided(s, k))
    q, k = known.backward
    fits = -(-t // size.q) * size.q % q == 0 and -(-s // size.k) * size.k % k == 0
    return size, Blocks(q, k) if fits else size


def _padded(x: Any, block: int, axis: int, fill: int = 0) -> Any:
    if x is None or x.shape[axis] == 1 or x.shape[axis] % block == 0:
        return x
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, pads, constant_values=fill)


def _rows_shape(x: Array, t: int, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], t, *x.shape[axis + 1 :])


def _row(x: Array, t: int, block: int) -> Array:
    """Numbers of rows [B, K, G, T or 1, 1] as [B, K, G, 1, T], padded."""
    x = jnp.swapaxes(jnp.asarray(x, jnp.float32), -1, -2)
    return _padded(jnp.broadcast_to(x, _rows_shape(x, t, 4)), block, 4)
