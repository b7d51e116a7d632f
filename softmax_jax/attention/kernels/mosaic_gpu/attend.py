"""Attention by kernels for Hopper GPUs: from `Operands` to the arrays of a kernel.

What precedes the kernels is that of the kernels for TPUs: counts of visible keys, the
multipliers of scores, parameters as numbers of rows. Arrays are in the caller's layout,
[B, T, H, D], and nothing is repeated for the heads of a group.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.kinds import kinds
from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile
from softmax_jax.attention.kernels.mosaic_gpu.members import member_of
from softmax_jax.attention.kernels.mosaic_gpu.problem import (
    Blocks,
    Inputs,
    Places,
    Problem,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Sight, ranges_of
from softmax_jax.attention.kernels.mosaic_gpu.slopes import operations
from softmax_jax.attention.kernels.places import padded, places_of
from softmax_jax.attention.kernels.prepare import (
    folded,
    key_count,
    multiplied,
    only_positions,
    without_unseen,
)
from softmax_jax.attention.kernels.tiles import Rows, reads_scores
from softmax_jax.attention.kernels.twins import Constants
from softmax_jax.attention.masks import Mask
from softmax_jax.attention.operands import Operands
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.normalizers.relu import ReLU
from softmax_jax.normalizers.softpick import Softpick
from softmax_jax.normalizers.sparsemax import Sparsemax

NAME = "implementation='mosaic_gpu'"
OLDEST_JAX = 0, 11
DTYPES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
# By width of a head, which is padded to the next of these.
BLOCKS = {
    64: Blocks(forward=128, dq=128, dkv=64),
    128: Blocks(forward=128, dq=64, dkv=64),
    256: Blocks(forward=64, dq=64, dkv=64),
}
# Their slopes jump where a score is 0: a query that is multiplied and rounded again may
# take it to the other side, so that scores are multiplied instead.
JUMPING = (ReLU, Softpick, Sparsemax)
# Operations of a score, up to which the registers of a thread hold two products in the
# backward pass, and above which all blocks are the smallest.
LIGHT, HEAVY = 12, 40


def mosaic_gpu(
    operands: Operands,
    scale: ArrayLike,
    soft_cap: ArrayLike | None,
    *,
    offset: int | None,
    known: Constants = (),
    bounded: bool = False,
    interpreted: bool = False,
) -> Array:
    """Outputs [B, K, G, T, V]; NotImplementedError says what the kernels cannot do.

    `offset` is that of the first query where it is static and no position is unusual.
    `known` is what `constants` says of the normalizer before parameters became arrays,
    and `bounded` what `is_bounded` does. `interpreted` runs the kernels on a CPU.
    """
    check(operands)
    from softmax_jax.attention.kernels.mosaic_gpu.fused import fused

    static = offset if only_positions(operands) else None
    operands = without_unseen(operands, static)
    tile, fold, rows = _tile(operands, scale, soft_cap, static, known, bounded)
    problem = _problem(operands, tile, static, interpreted=interpreted)
    x = _inputs(problem, operands, fold, rows)
    places = Places() if static is not None else _places(problem, x, operands.mask)
    t, group = operands.query.shape[3], operands.query.shape[1:3]
    o = fused(problem, x, places)[:, :t, :, : operands.value.shape[3]]
    return jnp.moveaxis(o.reshape(*o.shape[:2], *group, -1), 1, 3)


def check(operands: Operands) -> None:
    """Refuses what the kernels have no units or registers for."""
    version = tuple(int(x) for x in jax.__version__.split(".")[:2])
    if version < OLDEST_JAX:
        raise NotImplementedError(
            f"{NAME} needs jax 0.11 or newer (Python 3.12), this is {jax.__version__}"
        )
    dtype = operands.query.dtype
    if dtype not in DTYPES:
        raise NotImplementedError(
            f"{NAME} computes in bfloat16 and float16, got {dtype}"
        )
    widths = operands.query.shape[-1], operands.value.shape[3]
    if max(widths) > max(BLOCKS):
        raise NotImplementedError(f"{NAME} has heads of width up to 256, got {widths}")


def check_rows(normalizer: Normalizer, n: Array) -> None:
    """Refuses members whose rows are solved in a way that the kernels do not know."""
    if reads_scores(normalizer, n):
        raise NotImplementedError(
            f"{NAME} has no {type(normalizer).__name__}: what it selects depends on "
            "the order of the scores of a row"
        )


def _tile(
    operands: Operands,
    scale: ArrayLike,
    soft_cap: ArrayLike | None,
    offset: int | None,
    known: Constants,
    bounded: bool,
) -> tuple[GpuTile, Array, Rows]:
    """A tile of scores, what queries are multiplied by, and the numbers of rows."""
    n = key_count(operands, offset)
    c, normalizer = multiplied(operands, n, jnp.asarray(scale, jnp.float32))
    check_rows(normalizer, n)
    normalizer = normalizer.rows(n, jnp.zeros((1,) * 5), None)
    normalizer = member_of(normalizer, known)
    has_bias = operands.bias is not None
    apart = has_bias or isinstance(normalizer, JUMPING)
    options = dict(has_bias=apart, exact=False, known=known, bounded=bounded)
    tile, fold, rows, log_c = folded(normalizer, c, scale, soft_cap, **options)
    if not has_bias:
        rows.pop("bias", None)
    if apart and soft_cap is None:
        rows["score"], fold = rows["score"] * fold, jnp.ones((1,) * 5)
    if log_c is not None:
        rows = rows | {"log_c": log_c}
    parts = tile.tree, tile.leaves, tile.family, tile.capped
    tile = GpuTile(*parts, exact=False, bounded=bounded)
    return tile, fold, rows


def _problem(
    operands: Operands, tile: GpuTile, offset: int | None, *, interpreted: bool
) -> Problem:
    """What is static of the call; sizes of blocks follow from what a score takes."""
    query, value, mask = operands.query, operands.value, operands.mask
    lengths = query.shape[3], operands.key.shape[4]
    widths = _width(query.shape[4]), _width(value.shape[3])
    count = operations(tile)
    pairs = operands.bias is not None or mask.boolean is not None
    small = count > HEAVY or pairs
    return Problem(
        tile=tile,
        sight=Sight(mask.causal, mask.window, offset, lengths),
        blocks=Blocks(64, 64, 64) if small else BLOCKS[max(widths)],
        light=count <= LIGHT and not pairs,
        heavy=count > HEAVY,
        pairs=pairs,
        wide=sum(widths) > 256,
        interpreted=interpreted,
    )


def _inputs(problem: Problem, operands: Operands, fold: Array, rows: Rows) -> Inputs:
    """Arrays in the layout of the kernels, as whole blocks."""
    query = operands.query
    key, value = (x.swapaxes(3, 4) for x in (operands.key, operands.value))
    t, heads = query.shape[3], query.shape[1] * query.shape[2]
    width, value_width = _width(query.shape[4]), _width(value.shape[4])
    queries, keys = problem.blocks.queries, problem.blocks.keys
    q = (query.astype(jnp.float32) * fold).astype(query.dtype)
    return Inputs(
        q=_padded(_rows_first(q), queries, width),
        k=_padded(_rows_first(key), keys, width),
        v=_padded(_rows_first(value), keys, value_width),
        bias=_pairs(operands.bias, heads, queries, keys),
        numbers={name: _numbers(row, heads, t, queries) for name, row in rows.items()},
    )


def _width(width: int) -> int:
    return min(x for x in BLOCKS if x >= width)


def _rows_first(x: Array) -> Array:
    """[B, K, G, T, D] as [B, T, K G, D]."""
    x = jnp.moveaxis(x, 3, 1)
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _padded(x: Array, block: int, width: int) -> Array:
    pads = [(0, 0), (0, -x.shape[1] % block), (0, 0), (0, width - x.shape[3])]
    return jnp.pad(x, pads) if any(after for _, after in pads) else x


def _numbers(x: Array, heads: int, t: int, block: int) -> Array:
    """Numbers of rows [B, K, G, T, 1], sizes of 1 being shared, as [B, H, T], padded.

    The last number is repeated: one of no meaning could make weights NaN.
    """
    if x.shape[1] * x.shape[2] not in (1, heads):
        raise NotImplementedError(f"{NAME} has parameters of all heads or of one")
    x = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[3])
    return (
        jnp.pad(x, [(0, 0), (0, 0), (0, -t % block)], "edge") if x.shape[2] > 1 else x
    )


def _pairs(x: Array | None, heads: int, queries: int, keys: int) -> Array | None:
    """[B, K, G, T, S] with sizes of 1 as [B, H or 1, T or 1, S], padded."""
    if x is None:
        return None
    k, g = x.shape[1:3]
    if k * g not in (1, heads):
        k, g = (heads // g, g) if k == 1 else (k, heads // k)
        x = jnp.broadcast_to(x, (x.shape[0], k, g, *x.shape[3:]))
    x = x.reshape(x.shape[0], -1, *x.shape[3:])
    return padded(padded(x, queries, 2), keys, 3)


def _places(problem: Problem, x: Inputs, mask: Mask) -> Places:
    """Positions and segments, padding as that of nobody, and the ranges of blocks."""
    t, s = problem.sight.lengths
    blocks = problem.blocks
    whole = blocks.queries, blocks.keys
    ragged = t % whole[0] > 0 or s % whole[1] > 0
    places = places_of(mask, whole, t, s, ragged=ragged)

    def ranges(queries: int, keys: int, *, of_keys: bool) -> Array:
        found = kinds(
            places,
            (queries, keys),
            causal=mask.causal,
            window=mask.window,
            offset=None,
            lengths=(t, s),
            masked=problem.pairs,
        )
        return ranges_of(found.swapaxes(1, 2) if of_keys else found)

    return Places(
        q_position=_flat(places.q_position),
        k_position=_flat(places.k_position),
        q_segment=_flat(places.q_segment),
        k_segment=_flat(places.k_segment),
        boolean=_pairs(places.boolean, x.q.shape[2], blocks.queries, blocks.keys),
        of_queries=ranges(blocks.queries, blocks.forward, of_keys=False),
        of_keys=ranges(blocks.dkv, problem.keys_of_tile, of_keys=True),
    )


def _flat(x: Any) -> Any:
    return None if x is None else x.reshape(x.shape[0], -1)
