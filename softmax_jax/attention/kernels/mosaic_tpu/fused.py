"""Outputs by one kernel, gradients by another: what JAX differentiates as one step."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.mosaic_tpu.backward import Gradients, backward
from softmax_jax.attention.kernels.mosaic_tpu.forward import forward
from softmax_jax.attention.kernels.mosaic_tpu.problem import Inputs, Places, Problem
from softmax_jax.attention.kernels.mosaic_tpu.threshold import threshold
from softmax_jax.normalizers.base import Threshold

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
    wanted: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    wants_bias: bool = dataclasses.field(metadata={"static": True})


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(problem: Problem, x: Inputs, places: Places) -> "Solved":
    """Outputs [B, K, G, T, V], and the shift and mass of rows, if the family has them.

    The shift has no derivative: wherever it is used it cancels.
    """
    return _forward(problem, x, places)[0]


Solved = tuple[Array, Array | None, Array | None]


def _forward(problem: Problem, x: Inputs, places: Places) -> tuple[Solved, Array]:
    """Outputs, shift and mass; and the queries as the kernels take them."""
    q = (x.q.astype(jnp.float32) * x.fold).astype(x.q.dtype)
    folded = x._replace(q=q)
    if problem.tile.family is Threshold:
        return threshold(problem, folded, places), q
    return forward(problem, folded, places), q


def _fwd(problem: Problem, x: Any, places: Any) -> tuple[Any, Kept]:
    changes = jax.tree.map(lambda leaf: leaf.perturbed, x)
    x, places = (jax.tree.map(lambda leaf: leaf.value, tree) for tree in (x, places))
    given, q = _forward(problem, x, places)
    wanted = tuple(name for name, changed in changes.rows.items() if changed)
    return given, Kept(x, q, places, *given, wanted, bool(changes.bias))


def _bwd(problem: Problem, kept: Kept, cotangents: Any) -> tuple[Any, None]:
    x, unit = kept.x, problem.tile.unit
    folded = x._replace(q=kept.q)
    do, d_mass, d_log_c = _row_cotangents(problem, kept, folded, cotangents)
    found = _in_chunks(problem, kept, folded, do, d_mass)
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
    problem: Problem, kept: Kept, folded: Inputs, cotangents: Any
) -> tuple[Array, Array | None, Array | None]:
    """Those of sum W v, of the mass, and of log c."""
    do, mass, shift = _dense(cotangents[0]), kept.mass, kept.shift
    if mass is None or shift is None:
        return do, None, None
    if problem.tile.family is Threshold:
        mean = forward(problem, folded, kept.places, shift, slopes=True)[0]
        return do, -_products(mean, do), None
    empty = mass == 0
    inverse = jnp.where(empty, 0, 1 / jnp.where(empty, 1, mass))
    d_mass = _dense(cotangents[2]) - _products(kept.o, do) * inverse
    d_log_c = None
    if kept.x.log_c is not None:
        d_log_c = d_mass * problem.tile.exp(kept.x.log_c - shift)
    scaled = do.astype(jnp.float32) * jnp.swapaxes(inverse, -1, -2)
    return scaled.astype(do.dtype), d_mass, d_log_c


def _in_chunks(
    problem: Problem, kept: Kept, x: Inputs, do: Array, d_mass: Array | None
) -> Gradients:
    """All gradients, by as many walks as the memory for those of queries asks for."""
    run = functools.partial(backward, wanted=kept.wanted, wants_bias=kept.wants_bias)
    places, shift = kept.places, kept.shift
    t, width = x.q.shape[3:]
    block = problem.blocks.q
    most = max(MOST_KEPT // (4 * max(width, 128) * block), 1) * block
    if t <= most:
        return run(problem, x, places, shift, do, d_mass)
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
        rest = cut(shift, 4), cut(do, 3), cut(d_mass, 4)
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
