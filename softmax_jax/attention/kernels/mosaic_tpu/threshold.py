"""The forward kernel of threshold normalizers: scores of a row stay while it is solved.

A first walk along the keys computes the scores of a block of rows, and keeps of every
row the largest two in each of 256 parts. These are part of the row, so their root lies
left of its root, and close: most of what a threshold leaves stands among them. It is
the root, if no second of a part is above it. Otherwise passes over all scores follow,
mostly one where weights are rounded to bfloat16. A second walk weighs the values, of
long rows in those tiles alone whose largest scores are above the threshold.

Steps are Newton's on psi^-1(mass) = psi^-1(1), a norm of (z - tau)+ for powers: convex,
so that they rise to the root without overshooting. A step that leaves the bracket
halves it instead.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from softmax_jax.attention.kernels.lean import reciprocal
from softmax_jax.attention.kernels.mosaic_tpu.call import (
    LANES,
    Blocks,
    call,
    dot,
    put_flat,
    upright,
    wide,
    with_sums,
)
from softmax_jax.attention.kernels.mosaic_tpu.forward import (
    Solved,
    lay_upright,
    row_inputs,
    row_scratch,
    rows_of,
    score_and_sight,
)
from softmax_jax.attention.kernels.mosaic_tpu.problem import (
    Inputs,
    Places,
    Problem,
    Support,
    out,
)
from softmax_jax.attention.kernels.mosaic_tpu.visits import (
    AGAIN,
    FIRST,
    LAST,
    WORK,
    column_of,
    on_work,
    visits,
)
from softmax_jax.attention.kernels.tiles import LOWEST, Rows, Tile, hide

# Of the scores of a block of rows.
MOST_KEPT = 32 << 20
# Of the even and of the odd chunks of 128 keys, the largest two of each lane.
TOPS = (("even first", "even second"), ("odd first", "odd second"))
# Rows of a pass that are summed at a time: what fits in registers.
GROUP = 64
# Tiles of a row from which on it is asked which of them hold something of a support.
MANY = 8
# Steps with the first of each lane, with all that is kept, and with all scores.
FIRST_STEPS, TOP_STEPS, MOST_STEPS = 2, 2, 60
# Steps after which every other one halves the bracket: powers below 1 need it.
TRUSTED = 8
# How far from 1 a mass may be before the last step: a step leaves less than a quarter
# of the square, and weights are divided by their sum in any case. Where psi is not
# convex a score next to the threshold may weigh much, and it leaves more.
TOLERANCE, STEEP_TOLERANCE = {True: 1e-4, False: 0.1}, {True: 1e-4, False: 2e-2}
# An error that no step needs to follow.
SOLVED = 2e-6


def threshold(
    problem: Problem, x: Inputs, places: Places, *, keep: bool
) -> tuple[Solved, Support | None]:
    """Outputs [B, K, G, T, V]; if they are to be kept, tau and the mass of every row,
    [B, K, G, 1, T], and which tiles hold something of a support."""
    keys, width = x.k.shape[4], x.v.shape[3]
    size = problem.blocks.q
    while size % 256 == 0 and 4 * size * keys > MOST_KEPT:
        size //= 2
    if 4 * size * keys > MOST_KEPT:
        raise NotImplementedError(
            "implementation='mosaic_tpu' searches thresholds among at most "
            f"{MOST_KEPT // (4 * LANES)} keys, got {keys}"
        )
    columns = keys // problem.blocks.k
    blocks = Blocks(size, problem.blocks.k, r=-(-columns // 8) * 8)
    problem = dataclasses.replace(problem, blocks=blocks)
    inputs = row_inputs(x, places) | {"v": (jnp.swapaxes(x.v, -1, -2), "S1")}
    t = x.q.shape[3]
    outputs: dict[str, Any] = {"o": (out(x.q, t, width, dtype=x.q.dtype), "T1")}
    if keep:
        outputs |= dict.fromkeys(("tau", "mass"), (out(x.q, 1, t), "1T"))
        outputs["touched"] = out(x.q, t // size * blocks.r, LANES), "R1"
    names = (*sum(TOPS, ()), "mass parts", "slope parts", "down")
    scratch = row_scratch(problem, inputs)
    scratch |= {name: pltpu.VMEM((size, LANES), jnp.float32) for name in names}
    scratch |= {
        "acc": pltpu.VMEM((size, width), jnp.float32),
        "scores": pltpu.VMEM((columns, size, problem.blocks.k), jnp.float32),
        "count": pltpu.SMEM((2,), jnp.int32),
    }
    if columns >= MANY:
        scratch["tile tops"] = pltpu.VMEM((columns, size, LANES), jnp.float32)
        scratch["above"] = pltpu.SMEM((columns,), jnp.int32)
    found = call(
        functools.partial(_kernel, problem),
        "softmax_jax_threshold",
        visits(problem.kinds(places, x.bias), by_column=False, twice=True),
        problem.blocks,
        x.q.shape[:3],
        inputs,
        outputs,
        scratch,
    )
    if not keep:
        return (found["o"], None, None), None
    touched = found["touched"].reshape(*x.q.shape[:3], t // size, blocks.r, LANES)
    # Not "> 0": NaN is something.
    touched = (touched[..., :columns, :] != 0).any(-1)
    return (found["o"], found["tau"], found["mass"]), Support(touched, blocks)


def _kernel(
    problem: Problem, word: Any, kinds: tuple[int, ...], refs: dict[str, Any]
) -> None:
    count, again = refs["count"], (word & AGAIN) != 0

    @pl.when((word & FIRST) != 0)
    def begin() -> None:
        lay_upright(refs)
        for name in sum(TOPS, ()):
            refs[name][...] = jnp.full_like(refs[name], LOWEST)
        refs["acc"][...] = jnp.zeros_like(refs["acc"])
        refs["mass parts"][...] = jnp.zeros_like(refs["mass parts"])
        count[0] = count[1] = 0
        if "touched" in refs:
            refs["touched"][...] = jnp.zeros_like(refs["touched"])

    def step(*, masked: bool) -> None:
        z, seen, _ = score_and_sight(problem, refs, masked=masked)
        z = hide(z, seen, LOWEST)
        refs["scores"][count[0]] = z
        _keep_tops(refs, z)
        if "tile tops" in refs:
            refs["tile tops"][count[0]] = _by_lane(z, jnp.maximum)
        count[0] += 1

    on_work(word, kinds, step, unless=AGAIN)

    @pl.when(again & (count[1] == 0))
    def solve() -> None:
        tau = _solved(problem, refs)
        if "tau" in refs:
            refs["tau"][...] = tau
        refs["down"][...] = upright(tau)
        refs["mass parts"][...] = jnp.zeros_like(refs["mass parts"])
        if "above" in refs:
            _compare_tops(refs)

    def weigh() -> None:
        v, z = refs["v"][...], refs["scores"][count[1]]
        size = z.shape[1]
        rows = rows_of(refs, size)
        weight, _ = problem.tile.weigh(z, None, wide(refs["down"][...], size), rows)
        if problem.roomy:
            o, parts = with_sums(weight.astype(v.dtype), v)
        else:
            o, parts = dot(weight.astype(v.dtype), v, (1, 0)), _by_lane(weight, jnp.add)
        refs["acc"][...] += o
        refs["mass parts"][...] += parts
        if "touched" in refs:
            at = pl.ds(column_of(word), 1)
            refs["touched"][at, :] = jnp.max(parts, axis=0, keepdims=True)

    @pl.when(again & ((word & WORK) != 0))
    def visit() -> None:
        if "above" in refs:
            pl.when(refs["above"][count[1]] != 0)(weigh)
        else:
            weigh()
        count[1] += 1

    @pl.when((word & LAST) != 0)
    def end() -> None:
        mass = refs["mass parts"][...]
        if not problem.roomy:
            whole = jnp.sum(mass, axis=1, keepdims=True)
            mass = jnp.broadcast_to(whole, mass.shape)
        inverse = reciprocal(jnp.where(mass == 0, 1, mass))
        o = refs["acc"][...] * wide(inverse, refs["o"].shape[1])
        refs["o"][...] = o.astype(refs["o"].dtype)
        if "mass" in refs:
            put_flat(refs["mass"], mass)


def _keep_tops(refs: dict[str, Any], z: Array) -> None:
    """Sorts the scores of a tile into the largest two of each part."""
    for chunk, (first, second) in enumerate(TOPS):
        top, below = refs[first][...], refs[second][...]
        for i in range(chunk * LANES, z.shape[1], len(TOPS) * LANES):
            x = z[:, i : i + LANES]
            below = jnp.maximum(below, jnp.minimum(top, x))
            top = jnp.maximum(top, x)
        refs[first][...], refs[second][...] = top, below


def _compare_tops(refs: dict[str, Any]) -> None:
    """Notes which tiles have a score above the threshold of its row."""

    @pl.loop(0, refs["count"][0])
    def compare(i: Array) -> None:
        above = jnp.max(refs["tile tops"][i] - refs["down"][...])
        # Not "> 0": NaN is something.
        refs["above"][i] = jnp.where(above <= 0, 0, 1)


def _solved(problem: Problem, refs: dict[str, Any]) -> Array:
    """tau of the rows, [1, rows]: they lie along lanes between the passes."""
    tile = problem.tile
    rows = {
        name.removeprefix("row "): refs[name][...]
        for name in refs
        if name.startswith("row ")
    }
    firsts, seconds = (
        [refs[name][...].T for name in level] for level in zip(*TOPS, strict=True)
    )
    first = functools.reduce(jnp.maximum, firsts)
    top = jnp.max(first, axis=0, keepdims=True)
    blind = top == LOWEST
    top = jnp.where(blind, 0, top)
    inverse = tile.normalizer(rows).inverse
    target = inverse(jnp.ones_like(top))
    n = jnp.maximum(refs["count"][0] * problem.blocks.k, 1).astype(jnp.float32)
    low, high = -target, -inverse(jnp.ones_like(top) / n)
    newton = functools.partial(_newton, inverse, target)
    tau, mass = low, target
    for used in ([first],) * FIRST_STEPS + (firsts + seconds,) * TOP_STEPS:
        sums = _over_tops(tile, rows, [x - (top + tau) for x in used])
        tau, mass = newton(tau, *sums)
        tau = jnp.clip(tau, low, high)
    second = jnp.max(functools.reduce(jnp.maximum, seconds), axis=0, keepdims=True)
    hidden = second > top + tau
    convex = inverse(jnp.full_like(top, 0.5)) >= 0.5 * target
    allowed = jnp.where(convex, TOLERANCE[tile.exact], STEEP_TOLERANCE[tile.exact])
    error = jnp.where(hidden, jnp.inf, jnp.abs(mass - 1) / allowed)

    def unfinished(state: tuple[Array, ...]) -> Array:
        return (state[-1] > 1) & (state[-2] < MOST_STEPS)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        tau, low, high, steps, _ = state
        new, mass = newton(tau, *_pass(problem, refs, top + tau))
        low, high = jnp.where(mass >= 1, tau, low), jnp.where(mass <= 1, tau, high)
        inside = (new >= low) & (new <= high) & ((steps < TRUSTED) | (steps % 2 == 0))
        error = jnp.abs(mass - 1)
        solved = blind | (error <= SOLVED)
        error = jnp.where(solved, 0, jnp.where(inside, error / allowed, jnp.inf))
        new = jnp.where(inside, new, (low + high) / 2)
        return jnp.where(solved, tau, new), low, high, steps + 1, jnp.max(error)

    error = jnp.max(jnp.where(blind, 0, error))
    tau = jax.lax.while_loop(unfinished, step, (tau, low, high, jnp.int32(0), error))[0]
    return jnp.where(blind, 0, top + tau)


def _pass(problem: Problem, refs: dict[str, Any], tau: Array) -> tuple[Array, Array]:
    """The mass and half the slope of all rows at this threshold, [1, rows]."""
    parts, down = (refs["mass parts"], refs["slope parts"]), refs["down"]
    down[...] = upright(tau)

    @pl.loop(0, problem.blocks.q // GROUP)
    def group(g: Array) -> None:
        at = pl.ds(pl.multiple_of(g * GROUP, GROUP), GROUP)
        near = {
            name: ref.at[at] if name.startswith("up ") else ref
            for name, ref in refs.items()
        }
        rows, low = rows_of(near, LANES), down[at, :]

        def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
            for start in range(0, problem.blocks.k, LANES):
                z = refs["scores"][i, at, start : start + LANES]
                both = _weight_and_slope(problem.tile, rows, z - low)
                sums = sums[0] + both[0], sums[1] + both[1]
            return sums

        zero = jnp.zeros((GROUP, LANES), jnp.float32)
        sums = jax.lax.fori_loop(0, refs["count"][0], add, (zero, zero))
        for ref, part in zip(parts, sums, strict=True):
            ref[at, :] = part

    mass, slope = (jnp.sum(ref[...].T, axis=0, keepdims=True) for ref in parts)
    return mass, slope


def _over_tops(tile: Tile, rows: Rows, tops: Sequence[Array]) -> tuple[Array, Array]:
    """The mass and half the slope of scores u, which lie along sublanes, [1, rows]."""
    parts = [_weight_and_slope(tile, rows, u) for u in tops]
    mass, slope = (
        jnp.sum(functools.reduce(jnp.add, x), axis=0, keepdims=True)
        for x in zip(*parts, strict=True)
    )
    return mass, slope


def _newton(
    inverse: Callable[[Array], Array],
    target: Array,
    tau: Array,
    mass: Array,
    half: Array,
) -> tuple[Array, Array]:
    """The next threshold, and the mass at this one."""
    level, steepness = jax.jvp(inverse, (mass,), (2 * half,))
    return tau + (level - target) / jnp.where(steepness == 0, 1, steepness), mass


def _weight_and_slope(tile: Tile, rows: Rows, u: Array) -> tuple[Array, Array]:
    """psi and psi' / 2, in which a square has no factor."""
    weight = tile.lean(tile.normalizer(rows).weight)
    return jax.jvp(weight, (u,), (jnp.full_like(u, 0.5),))


def _by_lane(x: Array, join: Callable[[Array, Array], Array]) -> Array:
    """[rows, keys] as [rows, 128], joined within each lane."""
    parts = [x[:, i : i + LANES] for i in range(0, x.shape[1], LANES)]
    return functools.reduce(join, parts)
