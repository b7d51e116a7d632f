"""The forward kernel: rows of queries lie along sublanes, keys along lanes.

A ratio keeps the largest log weight m, the mass and the output of each row in units of
e^m while it walks along the keys; the other families add up. Numbers of rows are held
the same in all 128 lanes of their row, as the vector unit wants them.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from softmax_jax.attention.kernels.lean import reciprocal
from softmax_jax.attention.kernels.mosaic_tpu.call import (
    LANES,
    SCALARS,
    call,
    dot,
    put_flat,
    upright,
    wide,
    with_sums,
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
    LAST,
    PARTLY,
    on_work,
    visits,
)
from softmax_jax.attention.kernels.tiles import LOWEST, Rows, hide

# Outputs; the shift and the mass of rows, where they are kept and the family has them.
Solved = tuple[Array, Array | None, Array | None]

OF_ROWS = ("q_position", "q_segment", "shift")


def forward(
    problem: Problem,
    x: Inputs,
    places: Places,
    shift: Array | None = None,
    *,
    slopes: bool = False,
    active: Array | None = None,
    keep: bool = True,
) -> Solved:
    """Outputs [B, K, G, T, V], the shift and the mass of every row [B, K, G, 1, T].

    `q` is folded already. `shift` is that of every row where it is known: a threshold,
    or that of a bounded ratio (None is 0). `slopes` weighs with psi' instead of psi, in
    the tiles that are `active`, [B, K, G, rows, columns]. Without `keep` there are
    outputs alone.
    """
    tile, blocks = problem.tile, problem.blocks
    v = jnp.swapaxes(x.v, -1, -2)
    t, width = x.q.shape[3], v.shape[4]
    inputs = row_inputs(x, places) | {"v": (v, "S1")}
    if shift is not None:
        inputs["shift"] = shift, "1T"
    if active is not None:
        inputs["active"] = flat(active), SCALARS
    if x.log_c is not None:
        inputs["log_c"] = x.log_c, "1T"
    outputs: dict[str, Any] = {"o": (out(x.q, t, width, dtype=x.q.dtype), "T1")}
    scratch: dict[str, Any] = {"acc": pltpu.VMEM((blocks.q, width), jnp.float32)}
    if tile.has_maximum:
        if keep:
            outputs["top"] = out(x.q, 1, t), "1T"
        scratch["m"] = pltpu.VMEM((blocks.q, LANES), jnp.float32)
    if tile.has_mass:
        if keep:
            outputs["mass"] = out(x.q, 1, t), "1T"
        scratch["l"] = pltpu.VMEM((blocks.q, LANES), jnp.float32)
    scratch |= row_scratch(problem, inputs)
    results = call(
        Kernel(problem, slopes, x.k.shape[4] // blocks.k),
        "softmax_jax_slopes" if slopes else "softmax_jax_forward",
        visits(problem.kinds(places, x.bias), by_column=False),
        blocks,
        x.q.shape[:3],
        inputs,
        outputs,
        scratch,
    )
    return results["o"], results.get("top", shift), results.get("mass")


def row_inputs(x: Inputs, places: Places) -> dict[str, Any]:
    """What scores and their mask are made of, where rows lie along sublanes."""
    inputs: dict[str, Any] = {
        "q": (x.q, "T1"),
        "k": (x.k, "1S"),
        "bias": (x.bias, "TS"),
        "boolean": (places.boolean, "TS"),
        "q_position": (places.q_position, "1T"),
        "k_position": (places.k_position, "1S"),
        "q_segment": (places.q_segment, "1T"),
        "k_segment": (places.k_segment, "1S"),
    }
    inputs |= {f"row {name}": (row, "1T") for name, row in x.rows.items()}
    return {name: pair for name, pair in inputs.items() if pair[0] is not None}


def row_scratch(problem: Problem, inputs: dict[str, Any]) -> dict[str, Any]:
    """Memory for the numbers of rows, the same in all lanes."""
    return {
        f"up {name}": pltpu.VMEM((problem.blocks.q, LANES), array.dtype)
        for name, (array, _) in inputs.items()
        if name in OF_ROWS or name.startswith("row ")
    }


def lay_upright(refs: dict[str, Any]) -> None:
    for name in refs:
        if name.startswith("up "):
            refs[name][...] = upright(refs[name.removeprefix("up ")][...])


def rows_of(refs: dict[str, Any], size: int) -> Rows:
    """The numbers of rows by their names, [rows, size]."""
    return {
        name.removeprefix("up row "): wide(refs[name][...], size)
        for name in refs
        if name.startswith("up row ")
    }


def score_and_sight(
    problem: Problem, refs: dict[str, Any], *, masked: bool
) -> tuple[Array, Array | None, Rows]:
    """Scores of a tile, what of them is visible if it is masked, numbers of rows."""
    s = dot(refs["q"][...], refs["k"][...], (1, 0))
    rows = rows_of(refs, s.shape[1])

    def across(name: str) -> Array | None:
        return wide(refs[name][...], s.shape[1]) if name in refs else None

    def ref(name: str) -> Array | None:
        return refs[name][...] if name in refs else None

    bias = ref("bias")
    bias = None if bias is None else bias.astype(jnp.float32)
    z = problem.tile.score(s, bias, rows)
    if not masked:
        return z, None, rows
    seen = visible(
        problem,
        across("up q_position"),
        ref("k_position"),
        across("up q_segment"),
        ref("k_segment"),
        ref("boolean"),
        bias,
    )
    return z, None if seen is None else jnp.broadcast_to(seen, s.shape), rows


class Share(NamedTuple):
    """W, and M as `mass` and `times` the sum of W that the matrix unit makes."""

    weight: Array
    mass: Array | None
    times: int


class Kernel:
    """What happens at one tile."""

    def __init__(self, problem: Problem, slopes: bool, columns: int) -> None:
        self.problem, self.tile, self.slopes = problem, problem.tile, slopes
        self.columns = columns

    def __call__(self, word: Any, kinds: tuple[int, ...], refs: dict[str, Any]) -> None:
        pl.when((word & FIRST) != 0)(lambda: self.begin(refs))
        step = functools.partial(self.step, refs)
        on_work(word, kinds, where_active(word, self.columns, refs, step))
        end = functools.partial(self.end, refs, masked=PARTLY in kinds)
        pl.when((word & LAST) != 0)(end)

    def begin(self, refs: dict[str, Any]) -> None:
        """Nothing seen yet, but the constant mass."""
        refs["acc"][...] = jnp.zeros_like(refs["acc"])
        lay_upright(refs)
        log_c = upright(refs["log_c"][...]) if "log_c" in refs else None
        shift = refs.get("up shift")
        if self.tile.has_maximum:
            shift, least = refs["m"], jnp.full_like(refs["m"], self.tile.least)
            shift[...] = least if log_c is None else jnp.maximum(log_c, least)
        if log_c is not None and shift is not None:
            refs["l"][...] = self.tile.exp(log_c - shift[...])
        elif self.tile.has_mass:
            refs["l"][...] = jnp.zeros_like(refs["l"])

    def step(self, refs: dict[str, Any], *, masked: bool) -> None:
        z, seen, rows = score_and_sight(self.problem, refs, masked=masked)
        if self.tile.has_maximum:
            share, alpha = self.rescaled(refs, z, seen, rows)
        else:
            weigh = self.tile.slopes if self.slopes else self.tile.weigh
            shift = None
            if "up shift" in refs:
                shift = wide(refs["up shift"][...], z.shape[1])
            weight, mass = weigh(z, seen, shift, rows)
            share, alpha = self.shared(weight, mass), None
        self.add(refs, share, alpha)

    def shared(self, weight: Array, mass: Array) -> "Share":
        if weight is mass and self.problem.roomy and self.tile.has_mass:
            return Share(weight, None, 1)
        return Share(weight, mass, 0)

    def rescaled(
        self, refs: dict[str, Any], z: Array, seen: Array | None, rows: Rows
    ) -> tuple["Share", Array]:
        """The weights of a ratio in units of the new maximum, and the old unit in it.

        Where all is masked so far, it weighs 1 in units that later vanish.
        """
        tile = self.tile
        z = hide(z, seen, 0.0)
        log_w = hide(tile.log_weight(z, rows), seen, LOWEST)
        before = refs["m"][...]
        m = jnp.maximum(before, jnp.max(log_w, axis=1, keepdims=True))
        refs["m"][...] = m
        alpha = tile.decay(before, m, rows_of(refs, LANES))
        given = log_w, z, wide(m, z.shape[1]), rows
        rounded = tile.rounded(*given) if self.problem.roomy else None
        if rounded is not None:
            weight, less = rounded
            if less is None:
                return Share(weight, None, 1), alpha
            return Share(hide(weight, seen, 0.0), hide(less, seen, 0.0), 2), alpha
        weight, mass = tile.share(*given)
        if seen is not None and weight is not mass:
            weight, mass = (hide(x, seen, 0.0) for x in (weight, mass))
        return self.shared(weight, mass), alpha

    def add(self, refs: dict[str, Any], share: "Share", alpha: Array | None) -> None:
        """To outputs and masses, whose units were `alpha` of the present ones."""
        v, acc = refs["v"][...], refs["acc"]
        weight = share.weight.astype(v.dtype)
        mass = jnp.zeros((weight.shape[0], 1), jnp.float32)
        if share.times:
            o, mass = with_sums(weight, v)
        else:
            o = dot(weight, v, (1, 0))
        if share.mass is not None:
            rest = jnp.sum(share.mass, axis=1, keepdims=True)
            mass = 2 * mass - rest if share.times else rest
        before = acc[...]
        if alpha is not None:
            before = before * wide(alpha, v.shape[1])
        acc[...] = before + o
        if self.tile.has_mass:
            kept = refs["l"][...]
            refs["l"][...] = mass + (kept if alpha is None else alpha * kept)

    def end(self, refs: dict[str, Any], *, masked: bool) -> None:
        """Divides by the mass; a row without one has weights of 0."""
        acc, o = refs["acc"], refs["o"]
        if not self.tile.has_mass:
            o[...] = acc[...].astype(o.dtype)
            return
        mass = refs["l"][...]
        if self.tile.has_maximum and masked:
            mass = jnp.where(refs["m"][...] == LOWEST, 0, mass)
        empty = mass == 0
        inverse = reciprocal(jnp.where(empty, 1, mass))
        inverse = jnp.where(empty, 0, inverse)
        o[...] = (acc[...] * wide(inverse, o.shape[1])).astype(o.dtype)
        if "mass" in refs:
            put_flat(refs["mass"], mass)
        if "top" in refs:
            put_flat(refs["top"], refs["m"][...])
            top = refs["top"]
            top[...] = jnp.where(top[...] == LOWEST, 0, top[...])
