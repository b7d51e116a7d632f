"""Gradients of queries, and of the numbers of rows: a walk along the keys.

With W and M the weights and masses of a tile, and g = do . v, the gradient of a score
is W' g + M' d_mass; it is multiplied with the keys where it stands, in registers.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from softmax_jax.attention.kernels.mosaic_gpu import call, scores
from softmax_jax.attention.kernels.mosaic_gpu.problem import (
    Inputs,
    Places,
    Problem,
    named,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range
from softmax_jax.attention.kernels.mosaic_gpu.slopes import D_MASS, weights_and_slopes
from softmax_jax.attention.kernels.tiles import Rows, hide


def gradients_of_rows(
    problem: Problem,
    x: Inputs,
    places: Places,
    do: Array,
    wanted: tuple[str, ...],
    *,
    with_q: bool = True,
) -> tuple[Any, Rows]:
    """dq [B, T, H, D] unless without, and those of wanted numbers, each [B, H, T].

    `x.numbers` holds the shift of rows and the cotangent of their mass as well.
    """
    (batch, t, heads, d), v = x.q.shape, x.v.shape[3]
    block, dtype = problem.blocks.dq, x.q.dtype
    row = jax.ShapeDtypeStruct((batch, heads, t), jnp.float32)
    # Values are done with earlier than keys.
    out = {"q": jax.ShapeDtypeStruct(x.q.shape, dtype)} if with_q else {}
    stages = {"k": 2, "v": 1 if problem.wide else 2}
    memory = {
        "q": call.tiled(2, call.ROWS, d, dtype=dtype),
        "do": call.tiled(2, call.ROWS, v, dtype=dtype),
        "k": call.tiled(stages["k"], block, d, dtype=dtype),
        "v": call.tiled(stages["v"], block, v, dtype=dtype),
        "here": plgpu.Barrier(num_barriers=2, num_arrivals=2),
        "place": scores.place_memory() if any(problem.can_hide) else None,
    }
    for name in ("k", "v"):
        memory[f"{name}_here"] = plgpu.Barrier(num_barriers=stages[name])
        memory[f"{name}_free"] = plgpu.Barrier(
            num_barriers=stages[name], num_arrivals=2
        )
    found = call.run(
        functools.partial(_body, problem, wanted),
        "softmax_jax_dq",
        dict.fromkeys(wanted, row) | out,
        {"head": heads, "tile": t // (2 * call.ROWS), "example": batch},
        {**x._asdict(), "do": do, **named(**places._asdict())},
        memory,
        interpreted=problem.interpreted,
    )
    return found.get("q"), {name: found[name] for name in wanted}


def _body(
    problem: Problem, wanted: tuple[str, ...], x: Any, out: Any, memory: Any
) -> None:
    example = lax.axis_index("example")
    tile, blocks = scores.tile_of_queries(problem, x, problem.blocks.dq)

    @pl.when(lax.axis_index("group") < 2)
    def compute():
        plgpu.set_max_registers(call.COMPUTE, action="increase")
        _compute(problem, wanted, x, out, memory, (example, tile), blocks)

    @pl.when(lax.axis_index("group") == 2)
    def fetch():
        plgpu.set_max_registers(call.FETCH, action="decrease")
        call.fetch_keys(x, memory, example, blocks, problem.blocks.dq)


def _compute(
    problem: Problem,
    wanted: tuple[str, ...],
    x: Any,
    out: Any,
    memory: Any,
    where: tuple[Any, Any],
    blocks: Range,
) -> None:
    """The gradients of 64 queries."""
    group, head = lax.axis_index("group"), lax.axis_index("head")
    example, tile = where
    first = (2 * tile + group) * call.ROWS
    at = example, pl.ds(first, call.ROWS), head
    q, do, here = (memory[name].at[group] for name in ("q", "do", "here"))
    plgpu.copy_gmem_to_smem(x["q"].at[at], q, here)
    plgpu.copy_gmem_to_smem(x["do"].at[at], do, here)
    rows = scores.numbers(x["numbers"], example, head, first)
    if any(problem.can_hide):
        scores.lay_places(memory)
    plgpu.barrier_wait(here)

    def step(j, carry, *, masked):
        def visible(shape):
            places = first, j * problem.blocks.dq
            return scores.seen(
                problem.sight, x, memory, *places, shape, keys_are_rows=False
            )

        sight = visible if masked else None
        return _step(problem, wanted, memory, j - blocks.begin, rows, sight, carry)

    carry = (
        [call.zeros(call.ROWS, q.shape[1])] if "q" in out else [],
        [call.full_row(call.ROWS, 0.0) for _ in wanted],
    )
    dq, sums = call.walk(blocks, step, carry, can_hide=problem.can_hide)
    if "q" in out:
        q[...] = (dq[0] * problem.tile.unit).astype(q.dtype)
    for name, total in zip(wanted, sums, strict=True):
        call.store(out[name].at[example, head, at[1]], total * problem.tile.unit)
    plgpu.commit_smem()
    if "q" in out:
        plgpu.copy_smem_to_gmem(q, out["q"].at[at])
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)


def _step(
    problem: Problem,
    wanted: tuple[str, ...],
    memory: Any,
    n: Any,
    rows: Rows,
    sight: Any,
    carry: Any,
) -> Any:
    """One block of keys."""
    group = call.again(lax.axis_index("group"), n)
    q, do = (memory[name].at[group] for name in ("q", "do"))
    dq, sums = carry
    k, v = (call.slot(memory, name, n) for name in ("k", "v"))
    plgpu.barrier_wait(k.here)
    plgpu.barrier_wait(v.here)

    def weigh(s):
        return functools.partial(join, s)

    def join(s, given):
        """What is not seen is left out last, when the fewest registers are held."""
        if not problem.light:
            # Else slopes are computed while the second product is.
            s, given = lax.optimization_barrier((s, given))
        known = scores.across(rows, s.shape)
        pull = weights_and_slopes(problem.tile, s, known, wanted)[1]
        seen = None if sight is None else sight(s.shape)
        ds, sums = pull(
            given,
            known.get(D_MASS),
            lambda slope: jnp.sum(hide(slope, seen, 0.0), axis=1),
        )
        return hide(ds, seen, 0.0), sums

    ds, others = call.two_products(
        (q, k.part.T), (do, v.part.T), weigh, together=problem.light
    )
    plgpu.barrier_arrive(v.free)
    sums = [total + others[name] for name, total in zip(wanted, sums, strict=True)]
    if dq:
        pair = ds.astype(q.dtype), k.part
        dq = call.add_products(dq, [pair], interpreted=problem.interpreted)
    plgpu.barrier_arrive(k.free)
    return dq, sums
