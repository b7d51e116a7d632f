"""What the kernels for Hopper share: products, memory, the walk along a range."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from softmax_jax.attention.kernels.mosaic_gpu.instructions import traced
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range

# Types are checked against a JAX that cannot run these kernels.
NEWER: Any = plgpu
LAYOUT = plgpu.Layout.WGMMA
OF_ROWS, OF_COLUMNS = plgpu.Layout.WGMMA.reduce(1), plgpu.Layout.WGMMA.reduce(0)
# Queries, or keys, of a warpgroup: the rows of one matrix instruction.
ROWS = 64
# Shared memory for sums across warps, of which there are none.
REDUCTION = 512
# Columns of scores that are weighed at a time, if each takes many registers.
PART = 16
# Columns of which a thread has two of each of two rows.
FEW = 8
# Registers of a thread that computes, and of one that only fetches.
COMPUTE, FETCH = 240, 32


def tiled(*shape: int, dtype: Any) -> Any:
    """Shared memory as the tensor cores and the copy engine read it."""
    lanes = 128 // jnp.dtype(dtype).itemsize
    transforms = plgpu.TilingTransform((8, lanes)), plgpu.SwizzleTransform(128)
    return plgpu.SMEM(shape, dtype, transforms=transforms)


def product(a: Any, b: Any, then: Callable[[], None] = lambda: None) -> Array:
    """a @ b in float32; `then` runs while it is computed."""

    def compute(acc):
        plgpu.wgmma(acc, a, b)
        then()
        return acc[...]

    return pl.run_scoped(compute, plgpu.ACC((a.shape[0], b.shape[1]), jnp.float32))


def two_products(
    first: tuple[Any, Any],
    second: tuple[Any, Any],
    use: Callable[[Array], Callable[[Array], Any]],
    *,
    together: bool,
) -> Any:
    """use(first product)(second product).

    `together`, one is used while two is computed, if there are registers for that.
    """

    def compute(one, two):
        plgpu.wgmma(one, *first)
        plgpu.wgmma(two, *second)
        if together:
            join = use(NEWER.wgmma_accumulator_load(one, wait_n=1))
            return join(NEWER.wgmma_accumulator_load(two))
        given = NEWER.wgmma_accumulator_load(two)
        return use(NEWER.wgmma_accumulator_load(one))(given)

    shapes = [(a.shape[0], b.shape[1]) for a, b in (first, second)]
    return pl.run_scoped(compute, *(plgpu.ACC(x, jnp.float32) for x in shapes))


def add_products(
    sums: list[Array],
    pairs: list[tuple[Any, Any]],
    *,
    interpreted: bool,
    then: Callable[[], None] = lambda: None,
) -> list[Array]:
    """Each sum plus its product, in place. The interpreter has no such state."""
    if interpreted:
        then()
        pairs_read = [(a.astype(jnp.float32), b[...]) for a, b in pairs]
        # Read as the tensor cores do not: in order with copies to the same place.
        plgpu.commit_smem()
        found = [a @ b.astype(jnp.float32) for a, b in pairs_read]
        return [x + y for x, y in zip(sums, found, strict=True)]

    def compute(accs):
        for acc, (a, b) in zip(accs, pairs, strict=True):
            plgpu.wgmma(acc, a, b)
        then()

    found: Any = pl.run_state(compute)([plgpu.ACC.init(x) for x in sums])
    return list(found)


def load(ref: Any, layout: Any, *, optimized: bool = True) -> Array:
    """What a reference holds; without a way that is fast, unless it must be."""
    return NEWER.load(ref, layout=layout, optimized=optimized)


def store(ref: Any, x: Array) -> None:
    """Numbers of rows, to global memory."""
    NEWER.store(ref, x, optimized=False)


def zeros(*shape: int) -> Array:
    return plgpu.layout_cast(jnp.zeros(shape, jnp.float32), LAYOUT)


def full_tile(rows: int, columns: int, value: float) -> Array:
    return plgpu.layout_cast(jnp.full((rows, columns), value, jnp.float32), LAYOUT)


def full_row(size: int, value: float) -> Array:
    return plgpu.layout_cast(jnp.full((size,), value, jnp.float32), OF_ROWS)


def in_parts(f: Callable[..., Any], *tiles: Array, size: int = PART) -> list[Any]:
    """f(first, ..) of some columns of every tile, and then of the next.

    Operations come in the order of the code, each of a whole tile: in parts, what f
    holds on the way is that of few scores.
    """

    def part(first: int) -> list[Array]:
        return [lax.slice(x, (0, first), (x.shape[0], first + size)) for x in tiles]

    return [f(first, *part(first)) for first in range(0, tiles[0].shape[1], size)]


def beside(parts: Sequence[Array]) -> Array:
    """Columns of one tile."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def narrowed(x: Array) -> Array:
    """Sums of columns that lie in the same registers of a thread."""
    rows, columns = x.shape
    parts = [lax.slice(x, (0, i), (rows, i + FEW)) for i in range(0, columns, FEW)]
    return sum(parts[1:], parts[0])


def over_columns(x: Array, shape: tuple[int, ...]) -> Array:
    """Numbers of rows for every column."""
    return lax.broadcast_in_dim(x, shape, (0,))


def over_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """Numbers of columns for every row."""
    return lax.broadcast_in_dim(x, shape, (1,))


def walk(
    found: Range, step: Callable[..., Any], carry: Any, *, can_hide: tuple[bool, bool]
) -> Any:
    """step(j, carry, masked=) along a range; `can_hide` says where it may be masked."""

    def loop(start, stop, carry, masked):
        static = isinstance(start, int) and isinstance(stop, int)
        if start is stop or (static and start >= stop):
            return carry
        body = lambda j, carry: step(j, carry, masked=masked)  # noqa: E731
        return lax.fori_loop(jnp.int32(start), jnp.int32(stop), body, carry)

    begin, whole, rest, end = found
    if can_hide[0]:
        carry = loop(begin, whole, carry, True)
    carry = loop(whole if can_hide[0] else begin, rest, carry, False)
    if can_hide[1]:
        carry = loop(rest, end, carry, True)
    return carry


class Slot(NamedTuple):
    """A block in shared memory, and the barriers of who fetches and who has read it."""

    part: Any
    here: Any
    free: Any


def slot(memory: dict[str, Any], name: str, n: Any) -> Slot:
    """Where the n-th block of `name` lies."""
    i = remainder(n, memory[name].shape[0])
    return Slot(*(memory[key].at[i] for key in (name, f"{name}_here", f"{name}_free")))


def fetch(n: Any, place: Slot, stages: int, *copies: tuple[Any, Any]) -> None:
    """Copies to the place of the n-th block, once the block before it was read."""
    pl.when(n >= stages)(lambda: plgpu.barrier_wait(place.free))
    for source, target in copies:
        plgpu.copy_gmem_to_smem(source, target, place.here)


def fetch_keys(
    x: dict[str, Any],
    memory: dict[str, Any],
    example: Any,
    blocks: Range,
    size: int,
    at: Callable[[Any], Any] = lambda j: j,
) -> None:
    """Keys and values of every block, as their memory becomes free.

    `at` is where the block lies that a walk comes to.
    """
    heads_of_key = x["q"].shape[2] // x["k"].shape[2]
    head = lax.div(lax.axis_index("head"), jnp.int32(heads_of_key))

    @pl.loop(jnp.int32(blocks.begin), jnp.int32(blocks.end))
    def step(j):
        n, block = j - blocks.begin, at(j)
        for name in ("k", "v"):
            place = slot(memory, name, n)
            source = x[name].at[example, pl.ds(block * size, size), head]
            fetch(n, place, memory[name].shape[0], (source, place.part))


def again(i: Any, n: Any) -> Any:
    """i, for a step n: what is computed of it is computed in each step.

    Else the compiler computes the addresses of all parts of a tile before the loop, and
    has no registers to keep them in.
    """
    return i + lax.shift_right_logical(n, jnp.int32(30))


def turn(barrier: Any) -> None:
    """Meets the other warpgroup: one computes weights while the other multiplies."""
    plgpu.barrier_arrive(barrier)
    plgpu.barrier_wait(barrier)


def either(x: int, i: Any) -> Any:
    """The index i along an axis of this size, which is 1 where it is shared."""
    return 0 if x == 1 else i


def remainder(i: Any, n: int) -> Any:
    return lax.rem(i, jnp.int32(n))


def divide(compute: Callable[[], None], fetch: Callable[[], None]) -> None:
    """Two warpgroups compute, with most of the registers, and the third fetches."""

    @pl.when(lax.axis_index("group") < 2)
    def most():
        plgpu.set_max_registers(COMPUTE, action="increase")
        compute()

    @pl.when(lax.axis_index("group") == 2)
    def few():
        plgpu.set_max_registers(FETCH, action="decrease")
        fetch()


def run(
    body: Callable[..., None],
    name: str,
    out: dict[str, Any],
    grid: dict[str, int],
    inputs: dict[str, Any],
    memory: dict[str, Any],
    *,
    interpreted: bool,
) -> dict[str, Array]:
    """body(inputs, outputs, memory), references by name, by three warpgroups.

    Of the grid, the first axis runs fastest.
    """
    memory = {name: part for name, part in memory.items() if part is not None}

    def whole(given, results):
        allocated = functools.partial(body, given, results)
        pl.run_scoped(allocated, memory, collective_axes="group")

    kernel = plgpu.kernel(
        whole,
        out_type=(out,),
        grid=tuple(grid.values()),
        grid_names=tuple(grid),
        num_threads=3,
        thread_name="group",
        kernel_name=name,
        compiler_params=NEWER.CompilerParams(
            approx_math=True, reduction_scratch_bytes=REDUCTION
        ),
        interpret=NEWER.InterpretGPUParams() if interpreted else None,
    )
    with traced(interpreted=interpreted):
        (found,) = kernel(inputs)
    return found
