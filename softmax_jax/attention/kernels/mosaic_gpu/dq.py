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
    Lists,
    Places,
    Problem,
    named,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range
from softmax_jax.attention.kernels.mosaic_gpu.slopes import (
    D_MASS,
    SLOPE,
    SLOPED,
    bias_slope,
    slope_above,
    weights_and_slopes,
)
from softmax_jax.attention.kernels.tiles import Rows, hide


def gradients_of_rows(
    problem: Problem,
    x: Inputs,
    places: Places,
    lists: Lists,
    do: Array,
    wanted: tuple[str, ...],
    *,
    with_q: bool = True,
    with_bias: bool = False,
) -> tuple[Any, Rows, Any]:
    """dq [B, T, H, D] unless without, those of wanted numbers, each [B, H, T], and of
    the bias of every score [B, H, T, S], for which all blocks are visited.

    `x.numbers` holds the shift of rows and the cotangent of their mass as well. SLOPE
    and SLOPED, together and alone, are what that of a threshold normalizer is made of.
    """
    (batch, t, heads, d), v = x.q.shape, x.v.shape[3]
    block, dtype = problem.blocks.dq, x.q.dtype
    row = jax.ShapeDtypeStruct((batch, heads, t), jnp.float32)
    # Values are done with earlier than keys.
    out = {"q": jax.ShapeDtypeStruct(x.q.shape, dtype)} if with_q else {}
    if with_bias:
        pairs = batch, heads, t, x.k.shape[1]
        out["pairs"] = jax.ShapeDtypeStruct(pairs, jnp.float32)
    stages = {"k": 2, "v": 1 if problem.wide else 2}
    memory = {
        "q": call.tiled(2, call.ROWS, d, dtype=dtype),
        "do": call.tiled(2, call.ROWS, v, dtype=dtype),
        "k": call.tiled(stages["k"], block, d, dtype=dtype),
        "v": call.tiled(stages["v"], block, v, dtype=dtype),
        "here": plgpu.Barrier(num_barriers=2, num_arrivals=2),
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
        named(**x._asdict(), do=do, **places._asdict(), **lists._asdict()),
        memory,
        interpreted=problem.interpreted,
    )
    rows = {name: found[name] for name in wanted}
    return found.get("q"), rows, found.get("pairs")


def _body(
    problem: Problem, wanted: tuple[str, ...], x: Any, out: Any, memory: Any
) -> None:
    example = lax.axis_index("example")
    tile, blocks = scores.tile_of_queries(problem, x, problem.blocks.dq)
    if problem.heavy and problem.wide:
        blocks = blocks.in_one_loop(problem.can_hide)
    if "pairs" in out:
        every = x["k"].shape[1] // problem.blocks.dq
        blocks = Range(0, every, every, every)

    def fetch():
        head = lax.axis_index("head")
        at = functools.partial(scores.block_at, x, "query_list", head, tile)
        call.fetch_keys(x, memory, example, blocks, problem.blocks.dq, at)

    here = example, tile
    call.divide(lambda: _compute(problem, wanted, x, out, memory, here, blocks), fetch)


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
    names = "q", "do"
    first, at, rows = scores.fetch_queries(problem, x, memory, where, names, "here")
    q = memory["q"].at[group]
    plgpu.barrier_wait(memory["here"].at[group])

    def step(j, carry, *, masked):
        block = scores.block_at(x, "query_list", head, tile, j) if masked else j
        n = j - blocks.begin
        places = first, block * problem.blocks.dq
        view = scores.View(problem, x, head, *places, masked)
        to = out["pairs"].at[example, head] if "pairs" in out else None
        return _step(problem, wanted, memory, n, rows, view, to, carry)

    carry = (
        [call.zeros(call.ROWS, q.shape[1])] if "q" in out else [],
        {name: call.zeros(call.ROWS, call.FEW) for name in wanted},
    )
    can_hide = scores.can_hide(problem.can_hide, "query_list" in x)
    dq, sums = call.walk(blocks, step, carry, can_hide=can_hide)
    if "q" in out:
        q[...] = (dq[0] * problem.tile.unit).astype(q.dtype)
    for name, total in sums.items():
        total = jnp.sum(total, axis=1) * problem.tile.unit
        call.store(out[name].at[example, head, at[1]], total)
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
    view: scores.View,
    to: Any,
    carry: Any,
) -> Any:
    """One block of keys; `to` is where the gradients of its bias go."""
    group = call.again(lax.axis_index("group"), n)
    q, do = (memory[name].at[group] for name in ("q", "do"))
    dq, sums = carry
    k, v = (call.slot(memory, name, n) for name in ("k", "v"))
    plgpu.barrier_wait(k.here)
    plgpu.barrier_wait(v.here)

    def slopes(first: int, s: Array, given: Array) -> tuple[Array | None, Rows]:
        """Of some columns; what is not seen is left out last."""
        part = view.part(first)
        bias = part.bias(s.shape)
        known = scores.across(rows, s.shape)
        seen = part.seen(bias, s.shape)

        def total(slope: Array) -> Array:
            return call.narrowed(hide(slope, seen, 0.0))

        if SLOPE in wanted:
            slope = slope_above(problem.tile, s, bias, known)
            return None, {SLOPE: total(slope), SLOPED: total(slope * given)}
        pull = weights_and_slopes(problem.tile, s, known, wanted, bias)[1]
        ds, sums = pull(given, known.get(D_MASS), total)
        if to is not None:
            d_bias = bias_slope(problem.tile, s, known, bias, given)
            places = [pl.ds(part.q_first, s.shape[0]), pl.ds(part.k_first, s.shape[1])]
            call.store(to.at[tuple(places)], hide(d_bias, seen, 0.0))
        return hide(ds, seen, 0.0).astype(q.dtype), sums

    def weigh(s: Array) -> Any:
        """Slopes are computed while the second product is, or part by part after it."""
        if problem.light:
            return lambda given: [slopes(0, s, given)]
        return lambda given: call.in_parts(slopes, s, given)

    found = call.two_products(
        (q, k.part.T), (do, v.part.T), weigh, together=problem.light
    )
    plgpu.barrier_arrive(v.free)
    sums = {
        name: sum((part[name] for _, part in found), total)
        for name, total in sums.items()
    }
    if dq:
        pair = call.beside([ds for ds, _ in found]), k.part
        dq = call.add_products(dq, [pair], interpreted=problem.interpreted)
    plgpu.barrier_arrive(k.free)
    return dq, sums
