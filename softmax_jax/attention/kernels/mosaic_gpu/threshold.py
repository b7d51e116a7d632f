"""The forward kernel of threshold normalizers: a row is solved by walks along its keys.

Scores do not stay: what is kept of the first walk are the largest of each column of the
tiles, in registers, and their threshold is the first guess. Walks with all scores
follow until every row is solved, two sums each; most often one or two. The last one
weighs the values, of blocks that hold something of a support alone: the warpgroup that
fetches lists them, from what the others leave of each row of a tile.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from softmax_jax.attention.kernels.mosaic_gpu import call, scores, solve
from softmax_jax.attention.kernels.mosaic_gpu.forms import rewritten
from softmax_jax.attention.kernels.mosaic_gpu.problem import (
    Inputs,
    Places,
    Problem,
    named,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range
from softmax_jax.attention.kernels.tiles import LOWEST, Rows, hide

# A row of the second warpgroup, where those of both are counted in one number.
SECOND = 1 << 16


def threshold(
    problem: Problem, x: Inputs, places: Places
) -> tuple[Array, Array, Array]:
    """Outputs [B, T, H, V], tau of every row [B, H, T], and of every 64 rows and block
    of keys that were visited, whether something of it is above: [B, H, T / 64, ..]."""
    (batch, t, heads, d), (s, _, v) = x.q.shape, x.v.shape[1:]
    block = problem.blocks.forward
    stages = {"k": 4 if d + v <= 128 else 3 if d + v <= 256 else 2, "v": 2}
    rows = 2 * call.ROWS
    memory = {
        "q": call.tiled(2, call.ROWS, d, dtype=x.q.dtype),
        "k": call.tiled(stages["k"], block, d, dtype=x.q.dtype),
        "v": call.tiled(stages["v"], block, v, dtype=x.q.dtype),
        "o": None if d == v else call.tiled(2, call.ROWS, v, dtype=x.q.dtype),
        # Twice as many as blocks of keys: one is read when the next keys are there.
        "above": plgpu.SMEM((2 * stages["k"], rows), jnp.float32),
        "error": plgpu.SMEM((rows,), jnp.float32),
        "tau": plgpu.SMEM((2, call.ROWS), jnp.float32),
        "list": plgpu.SMEM((-(-(s // block) // 4) * 4,), jnp.int32),
        "told": plgpu.SMEM((4,), jnp.int32),
        "q_here": plgpu.Barrier(num_barriers=2),
        "asked": plgpu.Barrier(num_arrivals=2),
        "answered": plgpu.Barrier(),
    }
    for name, n in stages.items():
        memory[f"{name}_here"] = plgpu.Barrier(num_barriers=n)
        memory[f"{name}_free"] = plgpu.Barrier(num_barriers=n, num_arrivals=2)
    touched = batch, heads, t // call.ROWS, s // block
    found = call.run(
        functools.partial(_body, problem),
        "softmax_jax_threshold",
        {
            "o": jax.ShapeDtypeStruct((batch, t, heads, v), x.q.dtype),
            "tau": jax.ShapeDtypeStruct((batch, heads, t), jnp.float32),
            "touched": jax.ShapeDtypeStruct(touched, jnp.int8),
        },
        {"head": heads, "tile": t // rows, "example": batch},
        named(**x._asdict(), **places._asdict()),
        memory,
        interpreted=problem.interpreted,
    )
    return found["o"], found["tau"], found["touched"] > 0


def _body(problem: Problem, x: Any, out: Any, memory: Any) -> None:
    example = lax.axis_index("example")
    tile, blocks = scores.tile_of_queries(problem, x, problem.blocks.forward)

    here, block = (example, tile), problem.blocks.forward
    call.divide(
        lambda: _compute(problem, x, out, memory, here, blocks),
        lambda: _fetch(x, out, memory, here, blocks, block),
    )


def _fetch(
    x: Any, out: Any, memory: Any, where: tuple[Any, Any], blocks: Range, size: int
) -> None:
    """Keys of every block for each walk, and of listed ones with their values."""
    (example, tile), head = where, lax.axis_index("head")
    of_key = lax.div(head, jnp.int32(x["q"].shape[2] // x["k"].shape[2]))
    count, stages = jnp.int32(blocks.end - blocks.begin), memory["k"].shape[0]

    def source(name: str, j: Any) -> Any:
        return x[name].at[example, pl.ds(j * size, size), of_key]

    def copy(i: Any) -> None:
        place = call.slot(memory, "k", i)
        plgpu.copy_gmem_to_smem(source("k", blocks.begin + i), place.part, place.here)

    def note(i: Any, counts: tuple[Any, ...]) -> tuple[Any, ...]:
        """Lists the i-th block if rows have scores above what they leave."""
        j, place = blocks.begin + i, call.remainder(i, 2 * stages)
        found = _rows_above(memory["above"].at[place])
        first, second = call.remainder(found, SECOND), lax.div(found, jnp.int32(SECOND))
        for i, rows in enumerate((first, second)):
            some = jnp.minimum(rows, 1).astype(jnp.int8)
            out["touched"][example, head, 2 * tile + i, j] = some
        memory["list"][counts[2]] = j
        one = jnp.minimum(found, 1)
        return tuple(
            n + jnp.where(j < end, one, 0)
            for n, end in zip(counts, blocks[1:], strict=True)
        )

    def walk(*, listed: bool) -> tuple[Any, ...]:
        """All blocks; every one was read when this ends."""
        pl.loop(jnp.int32(0), jnp.minimum(count, stages))(copy)

        def step(i, counts):
            plgpu.barrier_wait(call.slot(memory, "k", i).free)
            pl.when(i + stages < count)(lambda: copy(i + stages))
            return note(i, counts) if listed else counts

        return lax.fori_loop(jnp.int32(0), count, step, (jnp.int32(0),) * 3)

    def solve_on(state):
        _, steps, _ = state
        counts = walk(listed=True)
        again = _ask(memory, counts, steps)
        return again, steps + 1, counts

    walk(listed=False)
    none = jnp.int32(0)
    state = jnp.int32(1), none, (none,) * 3
    counts = lax.while_loop(lambda state: state[0] > 0, solve_on, state)[2]

    @pl.loop(none, counts[2])
    def step(n):
        j = memory["list"][n]
        for name in ("k", "v"):
            place = call.slot(memory, name, n)
            call.fetch(n, place, memory[name].shape[0], (source(name, j), place.part))


def _rows_above(ref: Any) -> Array:
    """How many rows have a number above 0, of which NaN is one: a scalar."""
    layout = plgpu.Layout.WG_STRIDED(ref.shape, vec_size=1)
    above = call.load(ref, layout)
    row = plgpu.broadcasted_iota(jnp.int32, ref.shape, 0, layout=layout)
    one = jnp.where(row < call.ROWS, jnp.int32(1), jnp.int32(SECOND))
    return jnp.sum(jnp.where(above <= 0, jnp.zeros_like(one), one))


def _ask(memory: Any, counts: tuple[Any, ...], steps: Array) -> Array:
    """Whether some row is still to be solved, which the others are told."""
    plgpu.barrier_wait(memory["asked"])
    ref = memory["error"]
    layout = plgpu.Layout.WG_STRIDED(ref.shape, vec_size=1)
    worst = jnp.max(call.load(ref, layout))
    more = (worst > solve.TOLERANCE) & (steps + 1 < solve.MOST_PASSES)
    again = more.astype(jnp.int32)
    for i, number in enumerate((*counts, again)):
        memory["told"][i] = number
    plgpu.barrier_arrive(memory["answered"])
    return again


def _compute(
    problem: Problem,
    x: Any,
    out: Any,
    memory: Any,
    where: tuple[Any, Any],
    blocks: Range,
) -> None:
    """The outputs of 64 queries."""
    group = lax.axis_index("group")
    first, at, rows = scores.fetch_queries(problem, x, memory, where, ("q",), "q_here")
    q = memory["q"].at[group]
    plgpu.barrier_wait(memory["q_here"].at[group])
    scored = functools.partial(_scored, problem, x, memory, q, rows, first)
    walk = functools.partial(call.walk, can_hide=problem.can_hide)

    def keep(j, tops, *, masked):
        z, k = scored(j - blocks.begin, j, masked=masked)
        plgpu.barrier_arrive(k.free)
        return solve.sorted_in(tops, z)

    tops = walk(blocks, keep, solve.nothing(problem.blocks.forward))
    n = jnp.maximum(blocks.end - blocks.begin, 1) * problem.blocks.forward
    level = solve.first_guess(problem.tile, rows, tops, jnp.int32(n))

    def measure(limit, j, sums, *, masked):
        n = j - blocks.begin
        z, k = scored(n, j, masked=masked)
        place = call.remainder(n, memory["above"].shape[0]), _half(group)
        memory["above"].at[place][...] = jnp.max(z, axis=1) - (limit - solve.SLACK)
        plgpu.barrier_arrive(k.free)
        u = z - call.over_columns(limit, z.shape)
        parts = solve.weight_and_slope(problem.tile, u, rows)
        sums = zip(sums, parts, strict=True)
        return tuple(total + jnp.sum(part, axis=1) for total, part in sums)

    def again(state):
        level, steps, _ = state
        none = (call.full_row(call.ROWS, 0.0),) * 2
        at_tau = functools.partial(measure, level.top + level.tau)
        mass, slope = walk(blocks, at_tau, none)
        level, error = solve.after_pass(problem.tile, rows, level, mass, slope, steps)
        memory["error"].at[_half(group)][...] = error
        plgpu.barrier_arrive(memory["asked"])
        plgpu.barrier_wait(memory["answered"])
        return level, steps + 1, memory["told"][3]

    state = level, jnp.int32(0), jnp.int32(1)
    level = lax.while_loop(lambda state: state[2] > 0, again, state)[0]
    tau = jnp.where(level.blind, jnp.zeros_like(level.top), level.top + level.tau)
    whole, rest, end = (memory["told"][i] for i in range(3))
    listed = Range(0, end, end, end) if problem.pairs else Range(0, whole, rest, end)
    weigh = functools.partial(_weigh, problem, memory, scored, rows, tau)
    none = call.zeros(call.ROWS, x["v"].shape[3]), call.full_row(call.ROWS, 0.0)
    output, mass = walk(listed, weigh, none)
    _finish(out, memory, output, mass, tau, at)


def _half(group: Any) -> Any:
    """The rows of a warpgroup among those of both."""
    return pl.ds(group * call.ROWS, call.ROWS)


def _scored(
    problem: Problem,
    x: Any,
    memory: Any,
    q: Any,
    rows: Rows,
    first: Any,
    n: Any,
    j: Any,
    *,
    masked: bool,
) -> tuple[Array, call.Slot]:
    """Scores with block j, in the n-th place, and that; what is hidden is lowest."""
    k = call.slot(memory, "k", n)
    places = (first, j * problem.blocks.forward) if masked else (None, None)
    view = scores.View(problem, x, lax.axis_index("head"), *places, masked)
    bias = view.bias((q.shape[0], k.part.shape[0]))
    plgpu.barrier_wait(k.here)
    s = call.product(q, k.part.T)
    of_tile = scores.across(rows, s.shape)
    z = rewritten(lambda s: problem.tile.score(s, bias, of_tile))(s)
    return hide(z, view.seen(bias, s.shape), LOWEST), k


def _weigh(
    problem: Problem,
    memory: Any,
    scored: Any,
    rows: Rows,
    tau: Array,
    n: Any,
    carry: tuple[Array, Array],
    *,
    masked: bool,
) -> tuple[Array, Array]:
    """Values of one listed block."""
    output, mass = carry
    z, k = scored(n, memory["list"][n] if masked else None, masked=masked)
    plgpu.barrier_arrive(k.free)
    v = call.slot(memory, "v", n)
    of_tile = scores.across(rows, z.shape)
    u = z - call.over_columns(tau, z.shape)
    weight = rewritten(lambda u: problem.tile.normalizer(of_tile).weight(u))(u)
    mass = mass + jnp.sum(weight, axis=1)
    plgpu.barrier_wait(v.here)
    (output,) = call.add_products(
        [output],
        [(weight.astype(v.part.dtype), v.part)],
        interpreted=problem.interpreted,
    )
    plgpu.barrier_arrive(v.free)
    return output, mass


def _finish(
    out: Any,
    memory: Any,
    output: Array,
    mass: Array,
    tau: Array,
    at: tuple[Any, ...],
) -> None:
    """Divides by the mass, which is 1 but for rounding; a blind row has none."""
    group, (example, part, head) = lax.axis_index("group"), at
    one = jnp.ones_like(mass)
    output = output * call.over_columns(
        one / jnp.where(mass == 0, one, mass), output.shape
    )
    memory["tau"][group] = tau
    o = memory["o" if "o" in memory else "q"].at[group]
    o[...] = output.astype(o.dtype)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(o, out["o"].at[at])
    plgpu.copy_smem_to_gmem(memory["tau"].at[group], out["tau"].at[example, head, part])
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)
