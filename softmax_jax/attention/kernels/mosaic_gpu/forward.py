"""The forward kernel: two warpgroups of 64 queries each, and one that fetches.

A ratio keeps the largest log weight m, the mass and the output of each row in units of
e^m while it walks along the keys; elementwise weights add up. The two warpgroups take
turns: one computes weights while the other has the tensor cores.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from softmax_jax.attention.kernels.mosaic_gpu import call, scores
from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile, rewritten
from softmax_jax.attention.kernels.mosaic_gpu.problem import (
    Inputs,
    Places,
    Problem,
    named,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range
from softmax_jax.attention.kernels.tiles import LOWEST, Rows, hide


def forward(
    problem: Problem, x: Inputs, places: Places
) -> tuple[Array, Array | None, Array | None]:
    """Outputs [B, T, H, V], the largest log weight and the mass of rows [B, H, T].

    A bounded ratio has no use for the former, and an elementwise weight for either.
    """
    tile = problem.tile
    (batch, t, heads, d), v = x.q.shape, x.v.shape[3]
    row = jax.ShapeDtypeStruct((batch, heads, t), jnp.float32)
    out = {"o": jax.ShapeDtypeStruct((batch, t, heads, v), x.q.dtype)}
    out |= {"top": row} if tile.has_maximum else {}
    out |= {"mass": row} if tile.has_mass else {}
    block = problem.blocks.forward
    stages = 4 if d + v <= 128 else 2
    memory = {
        "q": call.tiled(2, call.ROWS, d, dtype=x.q.dtype),
        "k": call.tiled(stages, block, d, dtype=x.q.dtype),
        "v": call.tiled(stages, block, v, dtype=x.q.dtype),
        "o": None if d == v else call.tiled(2, call.ROWS, v, dtype=x.q.dtype),
        "row": plgpu.SMEM((2, 2, call.ROWS), jnp.float32) if tile.has_mass else None,
        "q_here": plgpu.Barrier(num_barriers=2),
        "k_here": plgpu.Barrier(num_barriers=stages),
        "v_here": plgpu.Barrier(num_barriers=stages),
        "k_free": plgpu.Barrier(num_barriers=stages, num_arrivals=2),
        "v_free": plgpu.Barrier(num_barriers=stages, num_arrivals=2),
        "turn": plgpu.Barrier(num_arrivals=2),
    }
    found = call.run(
        functools.partial(_body, problem),
        "softmax_jax_forward",
        out,
        {"head": heads, "tile": t // (2 * call.ROWS), "example": batch},
        named(**x._asdict(), **places._asdict()),
        memory,
        interpreted=problem.interpreted,
    )
    return found["o"], found.get("top"), found.get("mass")


def _body(problem: Problem, x: Any, out: Any, memory: Any) -> None:
    example = lax.axis_index("example")
    tile, blocks = scores.tile_of_queries(problem, x, problem.blocks.forward)

    call.divide(
        lambda: _compute(problem, x, out, memory, (example, tile), blocks),
        lambda: call.fetch_keys(x, memory, example, blocks, problem.blocks.forward),
    )


def _compute(
    problem: Problem,
    x: Any,
    out: Any,
    memory: Any,
    where: tuple[Any, Any],
    blocks: Range,
) -> None:
    """The outputs of 64 queries."""
    group, head = lax.axis_index("group"), lax.axis_index("head")
    first, at, rows = scores.fetch_queries(problem, x, memory, where, ("q",), "q_here")
    carry = _nothing(problem, rows, memory["v"].shape[2])
    q = memory["q"].at[group]
    plgpu.barrier_wait(memory["q_here"].at[group])

    @pl.when(blocks.begin < blocks.end)
    def some():
        plgpu.barrier_wait(memory["k_here"].at[0])

    pl.when(group == 1)(lambda: call.turn(memory["turn"]))

    def step(j, carry, *, masked):
        places = first, j * problem.blocks.forward
        view = scores.View(problem, x, head, *places, masked)
        last = j + 1 == blocks.end
        return _step(problem, memory, q, j - blocks.begin, last, rows, view, carry)

    carry = call.walk(blocks, step, carry, can_hide=problem.can_hide)
    pl.when(group == 0)(lambda: call.turn(memory["turn"]))
    _finish(problem, out, memory, carry, at, (where[0], head, at[1]))


def _nothing(problem: Problem, rows: Rows, width: int) -> tuple[Array, ...]:
    """Output, and mass and largest log weight, before any key but the constant mass."""
    tile, output = problem.tile, call.zeros(call.ROWS, width)
    if not tile.has_mass:
        return (output,)
    m, mass = (call.full_row(call.ROWS, x) for x in (tile.least, 0.0))
    log_c = rows.get("log_c")
    if log_c is not None:
        shift = tile.constant_shift(log_c)
        m = jnp.maximum(log_c, m) if shift is None else shift
        mass = mass + tile.exp(log_c - m)
    return (output, mass, m) if tile.has_maximum else (output, mass)


def _step(
    problem: Problem,
    memory: Any,
    q: Any,
    n: Any,
    last: Any,
    rows: Rows,
    view: scores.View,
    carry: tuple[Array, ...],
) -> tuple[Array, ...]:
    """One block of keys."""
    tile, turn = problem.tile, functools.partial(call.turn, memory["turn"])
    k, v = (call.slot(memory, name, n) for name in ("k", "v"))
    bias = view.bias((q.shape[0], k.part.shape[0]))
    s = call.product(q, k.part.T, then=turn)
    plgpu.barrier_arrive(k.free)
    seen = view.seen(bias, s.shape)
    output, *known = carry
    if tile.has_maximum:
        mass, m = known
        weight, share, m, alpha = rewritten(functools.partial(_ratio, tile))(
            s, bias, seen, m, rows
        )
        mass = alpha * mass + jnp.sum(share, axis=1)
        output = output * call.over_columns(alpha, output.shape)
        known = [mass, m]
    else:
        weigh = functools.partial(_at_once, tile)
        weight, share = rewritten(weigh)(s, bias, seen, rows)
        known = [mass + jnp.sum(share, axis=1) for mass in known]
    weight = weight.astype(q.dtype)
    output, known, weight = lax.optimization_barrier((output, known, weight))
    plgpu.barrier_arrive(memory["turn"])
    plgpu.barrier_wait(v.here)
    plgpu.barrier_wait(memory["turn"])

    def prepare():
        """Keys of the next block, while this one is multiplied."""

        @pl.when(~last)
        def _():
            plgpu.barrier_wait(call.slot(memory, "k", n + 1).here)

    (output,) = call.add_products(
        [output],
        [(weight, v.part)],
        interpreted=problem.interpreted,
        then=prepare,
    )
    plgpu.barrier_arrive(v.free)
    return output, *known


def _ratio(
    tile: GpuTile,
    s: Array,
    bias: Array | None,
    seen: Array | None,
    before: Array,
    rows: Rows,
) -> tuple[Array, Array, Array, Array]:
    """Weights and masses in units of the new maximum, that, and the old unit in it."""
    of_tile = scores.across(rows, s.shape)
    z = hide(tile.score(s, bias, of_tile), seen, 0.0)
    log_w = hide(tile.log_weight(z, of_tile), seen, LOWEST)
    m = jnp.maximum(before, jnp.max(log_w, axis=1))
    weight, mass = tile.share(log_w, z, call.over_columns(m, s.shape), of_tile)
    if seen is not None and weight is not mass:
        weight, mass = (hide(x, seen, 0.0) for x in (weight, mass))
    return weight, mass, m, tile.decay(before, m, rows)


def _at_once(
    tile: GpuTile, s: Array, bias: Array | None, seen: Array | None, rows: Rows
) -> tuple[Array, Array]:
    """Weights and masses of what needs no maximum."""
    shift = tile.constant_shift(rows.get("log_c"))
    rows = scores.across(rows, s.shape)
    if shift is not None and shift.ndim:
        shift = call.over_columns(shift, s.shape)
    return tile.weigh(tile.score(s, bias, rows), seen, shift, rows)


def _finish(
    problem: Problem,
    out: Any,
    memory: Any,
    carry: tuple[Array, ...],
    at: tuple[Any, ...],
    row_at: tuple[Any, ...],
) -> None:
    """Divides by the mass; a row without one has weights of 0."""
    group = lax.axis_index("group")
    output, *known = carry
    tile = problem.tile
    if tile.has_maximum:
        mass, m = known
        unseen = m == LOWEST
        known = [jnp.where(unseen, jnp.zeros_like(mass), mass)]
        memory["row"][group, 0] = jnp.where(unseen, jnp.zeros_like(m), m)
    if tile.has_mass:
        (mass,) = known
        empty = mass == 0
        one = jnp.ones_like(mass)
        inverse = jnp.where(
            empty, jnp.zeros_like(mass), one / jnp.where(empty, one, mass)
        )
        output = output * call.over_columns(inverse, output.shape)
        memory["row"][group, 1] = mass
    o = memory["o" if "o" in memory else "q"].at[group]
    o[...] = output.astype(o.dtype)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(o, out["o"].at[at])
    for i, name in enumerate(("top", "mass")):
        if name in out:
            plgpu.copy_smem_to_gmem(memory["row"].at[group, i], out[name].at[row_at])
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)
