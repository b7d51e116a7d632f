"""Instructions of the chip that Pallas has no name for."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.pallas import mosaic_gpu as plgpu

# Types are checked against a JAX that cannot run these kernels.
NEWER: Any = plgpu
_INTERPRETED = contextvars.ContextVar("interpreted", default=False)


@contextlib.contextmanager
def traced(*, interpreted: bool) -> Iterator[None]:
    """While a kernel is traced: the interpreter knows no instructions."""
    token = _INTERPRETED.set(interpreted)
    try:
        yield
    finally:
        _INTERPRETED.reset(token)


def reciprocal(x: Array) -> Array:
    """1 / x: one instruction for a tile of scores, where a division is ten."""
    if x.ndim != 2 or _INTERPRETED.get():
        return 1 / x
    layout = plgpu.Layout.WGMMA
    result = NEWER.ShapeDtypeStruct(x.shape, jnp.float32, layout=layout)

    @NEWER.inline_mgpu(arg_types=(layout,), return_type=result)
    def compute(_, x):
        return x._pointwise(x._lift_fast_instr("rcp.approx.ftz.f32"))

    return compute(x)


def not_negative(first: Any, steps: tuple[int, int], shape: tuple[int, int]) -> Array:
    """first + steps[0] * row + steps[1] * column >= 0, of every place of a tile.

    Each thread adds its own place to `first` and compares that with constants: one
    instruction for a score, and one register for all of them.
    """
    if _INTERPRETED.get():
        rows, columns = (jax.lax.broadcasted_iota(jnp.int32, shape, i) for i in (0, 1))
        return first + steps[0] * rows + steps[1] * columns >= 0
    layout = plgpu.Layout.WGMMA
    result = NEWER.ShapeDtypeStruct(shape, jnp.bool_, layout=layout)

    @NEWER.inline_mgpu(arg_types=(plgpu.Layout.WG_SPLAT,), return_type=result)
    def compute(_, first):
        return _compared(first.registers.flat[0], steps, shape, layout.to_mgpu())

    return compute(jnp.int32(first))


def places_apart(
    layout: Any, shape: tuple[int, int]
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Of every pair of neighbours that a thread holds, how far the first of them lies
    from the first of all: rows and columns."""
    strides = layout.tiling.tile_strides((shape[1], 1))
    for at in np.ndindex(*layout.registers_shape(shape)):
        linear = sum(i * n for i, n in zip(at, strides, strict=True))
        yield at, *divmod(linear, shape[1])


def _compared(first: Any, steps: tuple[int, int], shape: Any, layout: Any) -> Any:
    """What a thread holds of the result above."""
    from jax.experimental.mosaic.gpu import fragmented_array

    fragments: Any = fragmented_array  # with the dialects that it is written in
    arith, ir, llvm = fragments.arith, fragments.ir, fragments.llvm
    i32, flag = (ir.IntegerType.get_signless(n) for n in (32, 1))
    total = first
    # The first place of a thread; others lie apart from it by constants.
    for place, step in zip(next(iter(layout.thread_idxs(shape))), steps, strict=True):
        scaled = arith.muli(arith.index_cast(i32, place), arith.constant(i32, step))
        total = arith.addi(total, scaled)
    # The compiler would add the constants first, before the loop, and keep every sum.
    opaque: Any = llvm.inline_asm(i32, [total], "mov.b32 $0, $1;", "=r,r")
    found = np.empty(layout.registers_shape(shape), dtype=object)
    for at, row, column in places_apart(layout, shape):
        pair = llvm.mlir_undef(ir.VectorType.get((2,), flag))
        for i in range(2):
            apart = steps[0] * row + steps[1] * (column + i)
            least = arith.constant(i32, -apart)
            seen = arith.cmpi(arith.CmpIPredicate.sge, opaque, least)
            pair = llvm.insertelement(pair, seen, arith.constant(i32, i))
        found[at] = pair
    return fragments.FragmentedArray(_registers=found, _layout=layout, _is_signed=False)
