"""The backward kernel: keys lie along sublanes, rows of queries along lanes.

One walk, column by column, gives all gradients: those of a block of keys are summed
while it stays, those of all queries of a head are kept until the walk ends. It does
five products per tile, where two walks (one for queries, one for keys) do seven.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from softmax_jax.attention.kernels.mosaic_tpu.call import (
    LANES,
    SCALARS,
    call,
    dot,
    upright,
    wide,
)
from softmax_jax.attention.kernels.mosaic_tpu.problem import (
    Inputs,
    Places,
    Problem,
    flat,
    out,
    visible,
    where_active,
)
from softmax_jax.attention.kernels.mosaic_tpu.visits import (
    FIRST,
    on_work,
    row_of,
    visits,
)
from softmax_jax.attention.kernels.tiles import Rows

OF_KEYS = ("k_position", "k_segment")


class Gradients(NamedTuple):
    """In float32, one per query head; `rows` holds those asked for."""

    q: Array  # [B, K, G, T, D]
    k: Array  # [B, K, G, S, D]
    v: Array  # [B, K, G, S, V]
    bias: Array | None  # [B, K, G, S, T]
    rows: Rows  # [B, K, G, 1, T]


def backward(
    problem: Problem,
    x: Inputs,
    places: Places,
    shift: Array | None,
    do: Array,
    d_mass: Array | None,
    active: Array | None,
    *,
    wanted: tuple[str, ...],
    wants_bias: bool,
) -> Gradients:
    """`do` and `d_mass` are the cotangents of sum W v and of the mass of each row.

    Tiles that are not `active` have no derivative.
    """
    k, v = jnp.swapaxes(x.k, -1, -2), jnp.swapaxes(x.v, -1, -2)
    lead, t, s = x.q, x.q.shape[3], x.k.shape[4]
    bias, boolean = (
        None if pair is None else jnp.swapaxes(pair, -1, -2)
        for pair in (x.bias, places.boolean)
    )
    inputs: dict[str, Any] = {
        "q": (x.q, "T1"),
        "k": (k, "S1"),
        "v": (v, "S1"),
        "do": (do, "T1"),
        "bias": (bias, "ST"),
        "boolean": (boolean, "ST"),
        "q_position": (places.q_position, "1T"),
        "k_position": (places.k_position, "1S"),
        "q_segment": (places.q_segment, "1T"),
        "k_segment": (places.k_segment, "1S"),
        "shift": (shift, "1T"),
        "d_mass": (d_mass, "1T"),
        "active": (flat(active), SCALARS),
    }
    inputs |= {f"row {name}": (row, "1T") for name, row in x.rows.items()}
    inputs = {name: pair for name, pair in inputs.items() if pair[0] is not None}
    outputs = {
        "dq": (out(lead, t, k.shape[4]), "11"),
        "dk": (out(lead, s, k.shape[4]), "S1"),
        "dv": (out(lead, s, v.shape[4]), "S1"),
    }
    outputs |= {f"d {name}": (out(lead, 1, t), "11") for name in wanted}
    if wants_bias:
        outputs["dbias"] = out(lead, s, t), "ST"
    scratch = {
        f"up {name}": pltpu.VMEM((problem.blocks.k, LANES), jnp.int32)
        for name in OF_KEYS
        if name in inputs
    }
    found = call(
        functools.partial(_kernel, problem, wanted, s // problem.blocks.k),
        "softmax_jax_backward",
        visits(problem.kinds(places, x.bias), by_column=True, every=wants_bias),
        problem.blocks,
        lead.shape[:3],
        inputs,
        outputs,
        scratch,
    )
    rows = {name: found[f"d {name}"] for name in wanted}
    return Gradients(found["dq"], found["dk"], found["dv"], found.get("dbias"), rows)


def _kernel(
    problem: Problem,
    wanted: tuple[str, ...],
    columns: int,
    word: Any,
    kinds: tuple[int, ...],
    refs: dict[str, Any],
) -> None:
    pl.when(pl.program_id(3) == 0)(lambda: _clear(problem.blocks.q, refs))
    pl.when((word & FIRST) != 0)(lambda: _begin(refs))
    if "dbias" in refs:
        refs["dbias"][...] = jnp.zeros_like(refs["dbias"])
    step = functools.partial(_step, problem, wanted, word, refs)
    on_work(word, kinds, where_active(word, columns, refs, step))


def _clear(block: int, refs: dict[str, Any]) -> None:
    """No gradients of queries yet."""
    dq = refs["dq"]

    @pl.loop(0, dq.shape[0] // block)
    def clear(i):
        at = pl.ds(pl.multiple_of(i * block, block), block)
        dq[at, :] = jnp.zeros((block, dq.shape[1]), dq.dtype)

    for name in refs:
        if name.startswith("d "):
            refs[name][...] = jnp.zeros_like(refs[name])


def _begin(refs: dict[str, Any]) -> None:
    """No gradients of this block of keys yet."""
    for name in ("dk", "dv"):
        refs[name][...] = jnp.zeros_like(refs[name])
    for name in OF_KEYS:
        if name in refs:
            refs[f"up {name}"][...] = upright(refs[name][...])


def _step(
    problem: Problem,
    wanted: tuple[str, ...],
    word: Any,
    refs: dict[str, Any],
    *,
    masked: bool,
) -> None:
    """The derivative of one tile, taken of the member's own methods."""
    tile, block = problem.tile, problem.blocks.q
    q, k, v, do = (refs[name][...] for name in ("q", "k", "v", "do"))
    s = dot(k, q, (1, 1))
    bias = refs["bias"][...].astype(jnp.float32) if "bias" in refs else None
    if bias is not None:
        bias = jnp.broadcast_to(bias, s.shape)
    seen = _seen(problem, refs, bias, s.shape) if masked else None
    rows = {
        name.removeprefix("row "): refs[name][...]
        for name in refs
        if name.startswith("row ")
    }
    shift = refs["shift"][...] if "shift" in refs else None

    def weigh(s: Array, bias: Array | None, asked: Rows) -> tuple[Array, ...]:
        known = rows | asked
        both = tile.weigh(tile.score(s, bias, known), seen, shift, known)
        return both if tile.has_mass else both[:1]

    asked = {name: rows[name] for name in wanted}
    if "dbias" in refs:
        weights, pull = jax.vjp(weigh, s, bias, asked)
    else:
        weights, pull = jax.vjp(lambda s, asked: weigh(s, bias, asked), s, asked)
    refs["dv"][...] += dot(weights[0].astype(do.dtype), do, (1, 0))
    given = [dot(v, do, (1, 1))]
    if tile.has_mass:
        given.append(jnp.broadcast_to(refs["d_mass"][...], s.shape))
    ds, *d_bias, d_rows = pull(tuple(given))
    if d_bias:
        refs["dbias"][...] = d_bias[0]
    ds = ds.astype(q.dtype)
    refs["dk"][...] += dot(ds, q, (1, 0))
    at = pl.ds(pl.multiple_of(row_of(word) * block, block), block)
    refs["dq"][at, :] += dot(ds, k, (0, 0))
    for name in wanted:
        refs[f"d {name}"][:, at] += d_rows[name]


def _seen(
    problem: Problem, refs: dict[str, Any], bias: Array | None, shape: tuple[int, ...]
) -> Array | None:
    def ref(name: str) -> Array | None:
        return refs[name][...] if name in refs else None

    def across(name: str) -> Array | None:
        return wide(refs[name][...], shape[1]) if name in refs else None

    seen = visible(
        problem,
        ref("q_position"),
        across("up k_position"),
        ref("q_segment"),
        across("up k_segment"),
        ref("boolean"),
        bias,
    )
    return None if seen is None else jnp.broadcast_to(seen, shape)
