"""A call of a kernel: named operands, how their blocks follow the list of tiles."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from softmax_jax.attention.kernels.mosaic_tpu.visits import (
    Visits,
    as_word_list,
    column_of,
    row_of,
)

LANES = 128
# Of the 128 MiB of VMEM of a v5e or v6e; v5p and tpu7x have 64.
VMEM_LIMIT = 56 << 20

# How the block of an array follows the tile (row, column); "T" lies along queries and
# "S" along keys, "1" is there once, and "R" has some numbers for each row of tiles.
# SCALARS are numbers of a head, [B, K, G, N], that decide what is done.
Along = str
SCALARS = "scalars"


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Queries and keys per tile, and what an array along "R" has for each row."""

    q: int
    k: int
    r: int = 8

    def spec(self, shape: tuple[int, ...], along: Along, visited: Visits) -> Any:
        """The blocks of an array [B, K, G, x, y], sizes of 1 being shared."""
        lead, pair = shape[:3], shape[3:]
        if along == SCALARS:
            return pl.BlockSpec(
                (None, None, None, *pair),
                lambda b, k, g, n, words: (b, k, g, 0),
                memory_space=pltpu.SMEM,
            )
        sizes = {"T": self.q, "S": self.k, "R": self.r}
        tile = tuple(
            sizes[axis] if axis in sizes and size > 1 else size
            for axis, size in zip(along, pair, strict=True)
        )

        def index(b, k, g, n, words):
            word = visited.at(words, b, n)
            at = {"T": row_of(word), "S": column_of(word), "R": row_of(word)}
            first = [
                0 if size == 1 else i for i, size in zip((b, k, g), lead, strict=True)
            ]
            last = [
                at[axis] if axis in at and size > 1 else 0
                for axis, size in zip(along, pair, strict=True)
            ]
            return (*first, *last)

        return pl.BlockSpec((None, None, None, *tile), index)


def call(
    kernel: Callable,
    name: str,
    visited: Visits,
    blocks: Blocks,
    grid: tuple[int, ...],
    inputs: dict[str, tuple[Array, Along]],
    outputs: dict[str, tuple[jax.ShapeDtypeStruct, Along]],
    scratch: dict[str, Any],
) -> dict[str, Array]:
    """kernel(word, kinds, refs) for every tile, one after another for each head.

    `kinds` says what tiles there may be, and `refs` holds every operand by its name:
    inputs, outputs and scratch memory.
    """
    names = [*inputs, *outputs, *scratch]

    def body(words, *refs):
        word = visited.at(words, pl.program_id(0), pl.program_id(3))
        kernel(word, visited.kinds, dict(zip(names, refs, strict=True)))

    results = pl.pallas_call(
        body,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(*grid, visited.count),
            in_specs=[blocks.spec(x.shape, at, visited) for x, at in inputs.values()],
            out_specs=[blocks.spec(x.shape, at, visited) for x, at in outputs.values()],
            scratch_shapes=list(scratch.values()),
        ),
        out_shape=[x for x, _ in outputs.values()],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary"),
            vmem_limit_bytes=VMEM_LIMIT,
        ),
        name=name,
    )(as_word_list(visited), *(x for x, _ in inputs.values()))
    return dict(zip(outputs, results, strict=True))


def dot(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    """The product over one axis of each, summed in float32."""
    (i, j), exact = contract, a.dtype == jnp.float32
    precision = jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT
    return jax.lax.dot_general(
        a,
        b,
        (((i,), (j,)), ((), ())),
        precision=precision,
        preferred_element_type=jnp.float32,
    )


def with_sums(weight: Array, v: Array) -> tuple[Array, Array]:
    """weight @ v, and the sums of weights in all 128 lanes, as columns of one product.

    Free where the matrix unit is as wide as both.
    """
    ones = jnp.ones((v.shape[0], LANES), v.dtype)
    both = dot(weight, jnp.concatenate([ones, v], axis=1), (1, 0))
    return both[:, LANES:], both[:, :LANES]


def wide(x: Array, size: int) -> Array:
    """Numbers of rows [rows, 128], the same in all lanes, as [rows, size]."""
    return jnp.tile(x, (1, -(-size // LANES)))[:, :size]


def upright(x: Array) -> Array:
    """Numbers of rows [1, rows] as [rows, 128], the same in all lanes."""
    return jnp.broadcast_to(x, (LANES, x.shape[1])).T


def put_flat(ref: Any, x: Array) -> None:
    """The way back, into a reference [1, rows], by the diagonals of square parts."""
    shape = LANES, LANES
    row, lane = (jax.lax.broadcasted_iota(jnp.int32, shape, i) for i in (0, 1))
    for start in range(0, x.shape[0], LANES):
        part = jnp.where(row == lane, x[start : start + LANES], 0)
        ref[:, start : start + LANES] = jnp.sum(part, axis=0, keepdims=True)
