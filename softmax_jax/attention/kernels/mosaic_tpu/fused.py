"""Outputs by one kernel, gradients by another: what JAX differentiates as one step."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from softmax_jax.attention.kernels.mosaic_tpu.backward import Gradients, backward
from softmax_jax.attention.kernels.mosaic_tpu.forward import Solved, forward
from softmax_jax.attention.kernels.mosaic_tpu.problem import (
    Inputs,
    Places,
    Problem,
    Support,
)
from softmax_jax.attention.kernels.mosaic_tpu.threshold import threshold
from softmax_jax.normalizers.base import Threshold

# What `jax.checkpoint` may keep, by `checkpoint_policies.save_only_these_names`, so
# that the forward kernel does not run again.
OUTPUT, ROWS = "softmax_jax_output", "softmax_jax_rows"

# Of the gradients of one head's queries, which a walk keeps in memory (twice).
MOST_KEPT = 16 << 20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kept:
    """What the backward pass needs: O(T) numbers, and what is to be differentiated."""

    x: Inputs
    q: Array  # folded
    places: Places
    o: Array
    shift: Array | None
    mass: Array | None
    support: Support | None
    wanted: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    wants_bias: bool = dataclasses.field(metadata={"static": True})


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(problem: Problem, x: Inputs, places: Places) -> Array:
    """Outputs [B, K, G, T, V]."""
    return _forward(problem, x, places, keep=False)[0][0]


def _forward(
    problem: Problem, x: Inputs, places: Places, *, keep: bool
) -> tuple[Solved, Support | None, Array]:
    """Outputs, shift and mass; the tiles of a support; queries as kernels take them."""
    q = (x.q.astype(jnp.float32) * x.fold).astype(x.q.dtype)
    folded = x._replace(q=q)
    if problem.tile.family is Threshold:
        return *threshold(problem, folded, places, keep=keep), q
    shift = problem.tile.constant_shift(x.log_c)
    return forward(problem, folded, places, shift, keep=keep), None, q


def _fwd(problem: Problem, x: Any, places: Any) -> tuple[Array, Kept]:
    changes = jax.tree.map(lambda leaf: leaf.perturbed, x)
    x, places = (jax.tree.map(lambda leaf: leaf.value, tree) for tree in (x, places))
    (o, shift, mass), support, q = _forward(problem, x, places, keep=True)
    o = checkpoint_name(o, OUTPUT)
    shift, mass = (
        None if row is None else checkpoint_name(row, ROWS) for row in (shift, mass)
    )
    support = jax.tree.map(lambda touched: checkpoint_name(touched, ROWS), support)
    wanted = tuple(name for name, changed in changes.rows.items() if changed)
    kept = Kept(x, q, places, o, shift, mass, support, wanted, bool(changes.bias))
    return o, kept


def _bwd(problem: Problem, kept: Kept, cotangent: Any) -> tuple[Any, None]:
    """Of the shift there is no derivative: wherever it is used it cancels."""
    x, unit = kept.x, problem.tile.unit
    folded = x._replace(q=kept.q)
    do, d_mass, d_log_c = _row_cotangents(problem, kept, folded, _dense(cotangent))
    found = _in_chunks(problem.backwards(), kept, folded, do, d_mass)
    dq = found.q * unit
    dk, dv = (jnp.swapaxes(d.sum(2, keepdims=True), -1, -2) for d in (found.k, found.v))
    d_bias = None if x.bias is None else jnp.zeros_like(x.bias)
    if found.bias is not None:
        d_bias = _like(jnp.swapaxes(found.bias, -1, -2) * unit, x.bias)
    rows = jax.tree.map(jnp.zeros_like, x.rows)
    rows |= {name: _like(row * unit, x.rows[name]) for name, row in found.rows.items()}
    gradient = Inputs(
        q=(dq * x.fold).astype(x.q.dtype),
        k=_like(dk * unit, x.k),
        v=_like(dv, x.v),
        fold=_like((dq * x.q.astype(jnp.float32)).sum(-1, keepdims=True), x.fold),
        bias=d_bias,
        log_c=None if d_log_c is None else _like(d_log_c * unit, x.log_c),
        rows=rows,
    )
    return gradient, None


fused.defvjp(_fwd, _bwd, symbolic_zeros=True)


def _row_cotangents(
    problem: Problem, kept: Kept, folded: Inputs, do: Array
) -> tuple[Array, Array | None, Array | None]:
    """Those of sum W v, of the mass, and of log c."""
    mass, shift = kept.mass, kept.shift
    if mass is None:
        return do, None, None
    if problem.tile.family is Threshold:
        active = None if kept.support is None else kept.support.of(problem.blocks)
        given = folded, kept.places, shift
        mean = forward(problem, *given, slopes=True, active=active)[0]
        return do, -_products(mean, do), None
    empty = mass == 0
    inverse = jnp.where(empty, 0, 1 / jnp.where(empty, 1, mass))
    scaled = do.astype(jnp.float32) * jnp.swapaxes(inverse, -1, -2)
    scaled = scaled.astype(do.dtype)
    # Of the same rounded numbers as the products with values, so that what they have in
    # common cancels along a row.
    d_mass = -_products(kept.o, scaled)
    d_log_c = None
    if kept.x.log_c is not None and shift is not None:
        d_log_c = d_mass * problem.tile.exp(kept.x.log_c - shift)
    return scaled, d_mass, d_log_c


def _in_chunks(
    problem: Problem, kept: Kept, x: Inputs, do: Array, d_mass: Array | None
) -> Gradients:
    """All gradients, by as many walks as the memory for those of queries asks for."""
    run = functools.partial(backward, wanted=kept.wanted, wants_bias=kept.wants_bias)
    places, shift = kept.places, kept.shift
    active = None if kept.support is None else kept.support.of(problem.blocks)
    t, width = x.q.shape[3:]
    block = problem.blocks.q
    most = max(MOST_KEPT // (4 * max(width, 128) * block), 1) * block
    if t <= most:
        return run(problem, x, places, shift, do, d_mass, active)
    parts = []
    for start in range(0, t, most):
        cut = functools.partial(_cut, start=start, stop=min(start + most, t), t=t)
        part = x._replace(
            q=cut(x.q, 3),
            bias=cut(x.bias, 3),
            rows={name: cut(row, 4) for name, row in x.rows.items()},
        )
        near = places._replace(
            q_position=cut(places.q_position, 4),
            q_segment=cut(places.q_segment, 4),
            boolean=cut(places.boolean, 3),
        )
        near_active = None
        if active is not None:
            near_active = active[:, :, :, start // block : -(-(start + most) // block)]
        rest = cut(shift, 4), cut(do, 3), cut(d_mass, 4), near_active
        parts.append(run(problem.starting_at(start), part, near, *rest))
    join = functools.partial(jnp.concatenate, axis=-1)
    biases = [part.bias for part in parts if part.bias is not None]
    return Gradients(
        q=jnp.concatenate([part.q for part in parts], axis=3),
        k=sum((part.k for part in parts[1:]), parts[0].k),
        v=sum((part.v for part in parts[1:]), parts[0].v),
        bias=join(biases) if kept.wants_bias else None,
        rows={name: join([part.rows[name] for part in parts]) for name in kept.wanted},
    )


def _cut(x: Any, axis: int, *, start: int, stop: int, t: int) -> Any:
    if x is None or x.shape[axis] != t:
        return x
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def _products(a: Array, b: Array) -> Array:
    """Row sums of a * b, [B, K, G, 1, T]."""
    product = a.astype(jnp.float32) * b.astype(jnp.float32)
    return product.sum(axis=-1)[..., None, :]


def _dense(cotangent: Any) -> Array:
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        aval: Any = cotangent.aval
        return jnp.zeros(aval.shape, aval.dtype)
    return cotangent


def _like(gradient: Array, x: Any) -> Array:
    """Summed over the axes along which x is shared, in its dtype."""
    pairs = enumerate(zip(x.shape, gradient.shape, strict=True))
    axes = tuple(i for i, (size, given) in pairs if size == 1 and given > 1)
    return gradient.sum(axis=axes, keepdims=True).astype(x.dtype)
