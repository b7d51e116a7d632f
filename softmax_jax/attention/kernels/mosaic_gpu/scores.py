"""What the kernels read of rows, parameters and masks, in the layout of scores."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from softmax_jax.attention.kernels.mosaic_gpu import call
from softmax_jax.attention.kernels.mosaic_gpu.instructions import not_negative
from softmax_jax.attention.kernels.mosaic_gpu.problem import Problem
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range, Sight
from softmax_jax.attention.kernels.tiles import Rows

# A block of keys has as many, or a part of them.
MOST_KEYS = 128


def number(ref: Any, example: Any, head: Any, first: Any) -> Array:
    """A number of each of 64 queries, or of all of them: a row or a scalar."""
    at = call.either(ref.shape[0], example), call.either(ref.shape[1], head)
    if ref.shape[2] == 1:
        return ref[(*at, 0)]
    part = ref.at[(*at, pl.ds(first, call.ROWS))]
    return call.load(part, call.OF_ROWS, optimized=False)


def numbers(refs: dict[str, Any], example: Any, head: Any, first: Any) -> Rows:
    return {name: number(ref, example, head, first) for name, ref in refs.items()}


def across(rows: Rows, shape: tuple[int, ...]) -> Rows:
    """Numbers of rows for every column; scalars as they are."""
    return {
        name: x if x.ndim == 0 else call.over_columns(x, shape)
        for name, x in rows.items()
    }


def tile_of_queries(
    problem: Problem, x: dict[str, Any], block: int
) -> tuple[Any, Range]:
    """Which 128 queries, and the blocks of keys that they see."""
    tile = lax.axis_index("tile")
    if problem.sight.reach[1] is not None:
        # The longest walks begin first.
        tile = x["q"].shape[1] // (2 * call.ROWS) - 1 - tile
    if "query_range" in x:
        return tile, listed_range(x["query_range"], lax.axis_index("head"), tile)
    if problem.sight.offset is None:
        found = range_at(problem, x["of_queries"], tile)
        ratio = problem.blocks.forward // block
        return tile, Range(*(ratio * part for part in found))
    first = tile * (2 * call.ROWS)
    return tile, problem.sight.keys(first, 2 * call.ROWS, block)


def fetch_queries(
    problem: Problem,
    x: dict[str, Any],
    memory: dict[str, Any],
    where: tuple[Any, Any],
    names: tuple[str, ...],
    barrier: str,
) -> tuple[Any, tuple[Any, ...], Rows]:
    """Which 64 queries a warpgroup has, as first and as index, and their numbers.

    What is named of them is there when the barrier of the warpgroup says so.
    """
    (example, tile), head = where, lax.axis_index("head")
    group = lax.axis_index("group")
    first = (2 * tile + group) * call.ROWS
    at = example, pl.ds(first, call.ROWS), head
    for name in names:
        to, here = memory[name].at[group], memory[barrier].at[group]
        plgpu.copy_gmem_to_smem(x[name].at[at], to, here)
    rows = numbers(x["numbers"], example, head, first)
    return first, at, rows


def range_at(problem: Problem, ref: Any, tile: Any) -> Range:
    """A range that was computed outside."""
    at = call.either(ref.shape[0], lax.axis_index("example")), tile
    begin, whole, rest, end = (ref[(*at, i)] for i in range(4))
    # With numbers for pairs no block is whole, and no loop for such is needed.
    return (
        Range(begin, end, end, end) if problem.pairs else Range(begin, whole, rest, end)
    )


def listed_range(ref: Any, head: Any, tile: Any) -> Range:
    """A range of a list."""
    return Range(*(ref[lax.axis_index("example"), head, tile, i] for i in range(4)))


def block_at(x: dict[str, Any], name: str, head: Any, tile: Any, n: Any) -> Any:
    """The n-th block of a walk, which may follow a list."""
    return x[name][lax.axis_index("example"), head, tile, n] if name in x else n


def can_hide(ends: tuple[bool, bool], listed: bool) -> tuple[bool, bool]:
    """Where a walk may compare positions: a list begins with what a mask cuts."""
    return (any(ends), False) if listed else ends


class View(NamedTuple):
    """A tile of a walk: what is added to its scores, and what of it is hidden."""

    problem: Problem
    x: dict[str, Any]
    head: Any  # of the queries
    q_first: Any
    k_first: Any
    masked: bool
    keys_are_rows: bool = False

    def part(self, column: int) -> "View":
        """From a column on."""
        if self.keys_are_rows:
            return self._replace(q_first=self.q_first + column)
        return self._replace(k_first=self.k_first + column)

    def bias(self, shape: Any) -> Array | None:
        return self._pair("bias", shape)

    def seen(self, bias: Array | None, shape: Any) -> Array | None:
        """Which keys each query sees; None if it is all."""
        if not self.masked:
            return None
        sight, places = self.problem.sight, (self.q_first, self.k_first)
        find = _given if sight.offset is None else _static
        said = find(sight, self.x, *places, shape, keys_are_rows=self.keys_are_rows)
        if bias is not None:
            said.append(bias != -jnp.inf)
        boolean = self._pair("boolean", shape)
        if boolean is not None:
            said.append(boolean != 0)
        return functools.reduce(jnp.logical_and, said) if said else None

    def _pair(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """A tile of what lies over queries and keys, straight to registers: four
        threads read 32 bytes that follow each other."""
        if name not in self.x:
            return None
        ref = self.x[name]
        at = call.either(ref.shape[0], lax.axis_index("example"))
        at = at, call.either(ref.shape[1], self.head)
        places = self.q_first, self.k_first
        row, column = places[::-1] if self.keys_are_rows else places
        rows, columns = pl.ds(row, shape[0]), pl.ds(column, shape[1])
        if ref.shape[2] == 1:
            part, layout, axes = ref.at[(*at, 0, columns)], call.OF_COLUMNS, (1,)
        elif ref.shape[3] == 1:
            part, layout, axes = ref.at[(*at, rows, 0)], call.OF_ROWS, (0,)
        else:
            part, layout, axes = ref.at[(*at, rows, columns)], call.LAYOUT, (0, 1)
        found = call.load(part, layout, optimized=False).astype(jnp.float32)
        return found if len(axes) == 2 else lax.broadcast_in_dim(found, shape, axes)


def _static(
    sight: Sight,
    x: dict[str, Any],
    q_first: Any,
    k_first: Any,
    shape: tuple[int, int],
    *,
    keys_are_rows: bool,
) -> list[Array]:
    """What a key that a query sees satisfies, where only positions hide it."""
    along_q, along_k = ((0, 1), (1, 0)) if keys_are_rows else ((1, 0), (0, 1))
    ahead = k_first - q_first - (sight.offset or 0)
    forth = along_k[0] - along_q[0], along_k[1] - along_q[1]
    back = -forth[0], -forth[1]
    low, high = sight.reach
    said = []
    if low is not None:
        said.append(not_negative(ahead - low, forth, shape))
    if high is not None:
        said.append(not_negative(high - ahead, back, shape))
    # Queries that are only padding have no cotangents.
    if not keys_are_rows and sight.lengths[1] % MOST_KEYS:
        last = sight.lengths[1] - 1 - k_first
        said.append(not_negative(last, (-along_k[0], -along_k[1]), shape))
    return said


def _given(
    sight: Sight,
    x: dict[str, Any],
    q_first: Any,
    k_first: Any,
    shape: tuple[int, int],
    *,
    keys_are_rows: bool,
) -> list[Array]:
    """The same of positions and segments that are read."""
    q_axis, k_axis = (1, 0) if keys_are_rows else (0, 1)

    def given(name: str, first: Any, axis: int) -> Array:
        ref = x[name]
        example = call.either(ref.shape[0], lax.axis_index("example"))
        part = ref.at[example, pl.ds(first, shape[axis])]
        layout = call.OF_ROWS if axis == 0 else call.OF_COLUMNS
        found = call.load(part, layout, optimized=False)
        return lax.broadcast_in_dim(found, shape, (axis,))

    q_place = given("q_position", q_first, q_axis)
    k_place = given("k_position", k_first, k_axis)
    said = sight.near(q_place, k_place)
    if "q_segment" in x:
        q_segment = given("q_segment", q_first, q_axis)
        said.append(given("k_segment", k_first, k_axis) == q_segment)
    return said
