"""Gradients of keys and values: a walk along the queries of all heads of their group.

Keys are the rows of a tile here. Each of two warpgroups has 64 keys and the whole
width; of wider heads both have the same keys, and each sums one half of the width.
"""

import functools
from collections.abc import Callable
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
from softmax_jax.attention.kernels.mosaic_gpu.slopes import D_MASS, weights_and_slopes
from softmax_jax.attention.kernels.tiles import Rows, hide

STAGES = 2


def gradients_of_keys(
    problem: Problem, x: Inputs, places: Places, lists: Lists, do: Array
) -> tuple[Array, Array]:
    """dk [B, S, K, D] and dv [B, S, K, V]."""
    (batch, _, _, d), (s, kv, v) = x.q.shape, x.v.shape[1:]
    block, dtype = problem.blocks.dkv, x.q.dtype
    parts = 1 if problem.wide else 2
    packed, scalars = _packed(x, block)
    memory = {
        "k": call.tiled(parts, call.ROWS, d, dtype=dtype),
        "v": call.tiled(parts, call.ROWS, v, dtype=dtype),
        "q": call.tiled(STAGES, block, d, dtype=dtype),
        "do": call.tiled(STAGES, block, v, dtype=dtype),
        "keys_here": plgpu.Barrier(num_barriers=parts, num_arrivals=2),
        "turn": plgpu.Barrier(num_arrivals=2),
    }
    inputs = {"q": x.q, "k": x.k, "v": x.v, "do": do, "scalars": scalars}
    # Keys are the rows of a tile.
    bias, boolean = (
        None if pair is None else jnp.swapaxes(pair, 2, 3)
        for pair in (x.bias, places.boolean)
    )
    places = places._replace(boolean=boolean)
    if packed is not None:
        inputs["packed"] = packed
        rows = packed.shape[3]
        memory["packed"] = plgpu.SMEM((STAGES, rows, block), jnp.float32)
    for name, copies in (("q", 1), ("do", 1 if packed is None else 2)):
        memory[f"{name}_here"] = plgpu.Barrier(num_barriers=STAGES, num_arrivals=copies)
        memory[f"{name}_free"] = plgpu.Barrier(num_barriers=STAGES, num_arrivals=2)
    found = call.run(
        functools.partial(_body, problem, _vectors(x)),
        "softmax_jax_dkv",
        {
            "k": jax.ShapeDtypeStruct(x.k.shape, dtype),
            "v": jax.ShapeDtypeStruct(x.v.shape, dtype),
        },
        {"head": kv, "tile": s // (parts * call.ROWS), "example": batch},
        inputs | named(bias=bias, **places._asdict(), **lists._asdict()),
        memory,
        interpreted=problem.interpreted,
    )
    return found["k"], found["v"]


def _vectors(x: Inputs) -> tuple[str, ...]:
    """The numbers that differ from query to query."""
    return tuple(name for name, row in x.numbers.items() if row.shape[2] > 1)


def _packed(x: Inputs, block: int) -> tuple[Array | None, Rows]:
    """Those, for each block one after another, [B, H, T / block, .., block]; others."""
    (batch, t, heads, _), vectors = x.q.shape, _vectors(x)
    scalars = {name: row for name, row in x.numbers.items() if name not in vectors}
    if not vectors:
        return None, scalars
    rows = [jnp.broadcast_to(x.numbers[name], (batch, heads, t)) for name in vectors]
    parts = [row.reshape(batch, heads, t // block, block) for row in rows]
    return jnp.stack(parts, axis=3), scalars


def _body(
    problem: Problem, vectors: tuple[str, ...], x: Any, out: Any, memory: Any
) -> None:
    keys = problem.keys_of_tile
    tile = lax.axis_index("tile")
    if problem.sight.offset is None:
        same = scores.range_at(problem, x["of_keys"], tile)
    else:
        same = problem.sight.queries(tile * keys, keys, problem.blocks.dkv)

    def blocks(head: Any) -> Range:
        """Those that a query head walks through."""
        if "key_range" in x:
            return scores.listed_range(x["key_range"], head, tile)
        return same.in_one_loop(_can_hide(problem)) if problem.heavy else same

    call.divide(
        lambda: _compute(problem, vectors, x, out, memory, tile, blocks),
        lambda: _fetch(x, memory, tile, blocks, problem.blocks.dkv),
    )


def _fetch(
    x: Any, memory: Any, tile: Any, blocks: Callable[[Any], Range], size: int
) -> None:
    """Queries and cotangents of every block of every head, one after another."""
    example, head = lax.axis_index("example"), lax.axis_index("head")
    heads = x["q"].shape[2] // x["k"].shape[2]

    def of_head(g, done):
        own = head * heads + g
        found = blocks(own)

        @pl.loop(jnp.int32(found.begin), jnp.int32(found.end))
        def step(j):
            n, i = done + j - found.begin, scores.block_at(x, "key_list", own, tile, j)
            at = example, pl.ds(i * size, size), own
            q, do = (call.slot(memory, name, n) for name in ("q", "do"))
            call.fetch(n, q, STAGES, (x["q"].at[at], q.part))
            copies = [(x["do"].at[at], do.part)]
            if "packed" in x:
                rows = memory["packed"].at[call.remainder(n, STAGES)]
                copies.append((x["packed"].at[example, own, i], rows))
            call.fetch(n, do, STAGES, *copies)

        return done + found.end - found.begin

    lax.fori_loop(0, heads, of_head, jnp.int32(0))


def _compute(
    problem: Problem,
    vectors: tuple[str, ...],
    x: Any,
    out: Any,
    memory: Any,
    tile: Any,
    blocks: Callable[[Any], Range],
) -> None:
    """The gradients of 64 keys, or of one half of their width."""
    group, head = lax.axis_index("group"), lax.axis_index("head")
    example, heads = lax.axis_index("example"), x["q"].shape[2] // x["k"].shape[2]
    shared = problem.wide
    own = 0 if shared else group
    first = tile * call.ROWS if shared else (2 * tile + group) * call.ROWS
    at = example, pl.ds(first, call.ROWS), head
    k, v, here = (memory[name].at[own] for name in ("k", "v", "keys_here"))
    for name, part in (("k", k), ("v", v)):
        copy = functools.partial(plgpu.copy_gmem_to_smem, x[name].at[at], part, here)
        pl.when(group == 0)(copy) if shared else copy()
    plgpu.barrier_wait(here)
    widths = [part.shape[1] // (2 if shared else 1) for part in (k, v)]
    halves = [pl.ds(group * w, w) if shared else slice(None) for w in widths]

    def of_head(g, carry):
        done, *sums = carry
        own_head = head * heads + g
        found, of = blocks(own_head), (example, own_head)
        scalars = {
            name: scores.number(ref, *of, 0) for name, ref in x["scalars"].items()
        }

        def step(i, carry, *, masked):
            n = done + i - found.begin

            block = i
            if masked:
                block = scores.block_at(x, "key_list", own_head, tile, i)
            places = block * problem.blocks.dkv, first
            view = scores.View(problem, x, own_head, *places, masked, True)
            known = own, halves
            return _step(problem, vectors, memory, known, n, scalars, view, carry)

        can_hide = scores.can_hide(_can_hide(problem), "key_list" in x)
        sums = call.walk(found, step, tuple(sums), can_hide=can_hide)
        return done + found.end - found.begin, *sums

    none = (call.zeros(call.ROWS, w) for w in widths)
    _, dk, dv = lax.fori_loop(0, heads, of_head, (jnp.int32(0), *none))
    if shared:
        # The other half reads the keys until it is done.
        call.turn(memory["turn"])
    for part, half, total in (
        (k, halves[0], dk * problem.tile.unit),
        (v, halves[1], dv),
    ):
        part.at[:, half][...] = total.astype(part.dtype)
    plgpu.commit_smem()
    if shared:
        call.turn(memory["turn"])
    for i, (name, part) in enumerate((("k", k), ("v", v))):
        copy = functools.partial(plgpu.copy_smem_to_gmem, part, out[name].at[at])
        pl.when(group == i)(copy) if shared else copy()
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)


def _can_hide(problem: Problem) -> tuple[bool, bool]:
    """Padding needs no mask: queries without cotangents add nothing."""
    if problem.sight.offset is None:
        return True, True
    low, high = problem.sight.reach
    return high is not None, low is not None


def _step(
    problem: Problem,
    vectors: tuple[str, ...],
    memory: Any,
    keys: Any,
    n: Any,
    scalars: Rows,
    view: scores.View,
    carry: tuple[Array, Array],
) -> tuple[Array, Array]:
    """One block of queries of one head."""
    own, (of_k, of_v) = keys
    k, v = (memory[name].at[call.again(own, n)] for name in ("k", "v"))
    q, do = (call.slot(memory, name, n) for name in ("q", "do"))
    plgpu.barrier_wait(q.here)
    plgpu.barrier_wait(do.here)

    def some(first: int, s: Array) -> Callable[[Array], tuple[Array, Array]]:
        """Weights of some columns, and what finds the gradients of their scores.

        What is used late is read late.
        """
        part = view.part(first)
        bias = part.bias(s.shape)

        def row(name: str) -> Array:
            rows = memory["packed"].at[call.remainder(n, STAGES), vectors.index(name)]
            found = call.load(rows.at[pl.ds(first, s.shape[1])], call.OF_COLUMNS)
            return call.over_rows(found, s.shape)

        def seen(x: Array) -> Array:
            return hide(x, part.seen(bias, x.shape), 0.0).astype(k.dtype)

        known = scalars | {name: row(name) for name in vectors if name != D_MASS}
        weight, pull = weights_and_slopes(problem.tile, s, known, (), bias)
        weight = seen(weight)

        def join(given: Array) -> tuple[Array, Array]:
            d_mass = row(D_MASS) if D_MASS in vectors else None
            return weight, seen(pull(given, d_mass, jnp.sum)[0])

        return join

    def weigh(s: Array) -> Callable[[Array], tuple[Array, Array]]:
        """Part by part if a score takes many registers, once both products are there;
        else weights are computed while the second is."""
        if problem.light:
            return some(0, s)

        def join(given: Array) -> tuple[Array, Array]:
            f = lambda i, s, given: some(i, s)(given)  # noqa: E731
            size = call.FEW if "boolean" in view.x else call.PART
            found = call.in_parts(f, s, given, size=size)
            weights, ds = zip(*found, strict=True)
            return call.beside(weights), call.beside(ds)

        return join

    weight, ds = call.two_products(
        (k, q.part.T), (v, do.part.T), weigh, together=problem.light
    )
    dk, dv = call.add_products(
        list(carry),
        [(ds, q.part.at[:, of_k]), (weight, do.part.at[:, of_v])],
        interpreted=problem.interpreted,
    )
    plgpu.barrier_arrive(q.free)
    plgpu.barrier_arrive(do.free)
    return dk, dv
