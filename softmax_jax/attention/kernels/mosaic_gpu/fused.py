"""Outputs by one kernel, gradients by two: what JAX differentiates as one step."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.mosaic_gpu.dkv import gradients_of_keys
from softmax_jax.attention.kernels.mosaic_gpu.dq import gradients_of_rows
from softmax_jax.attention.kernels.mosaic_gpu.forward import forward
from softmax_jax.attention.kernels.mosaic_gpu.problem import Inputs, Places, Problem
from softmax_jax.attention.kernels.mosaic_gpu.slopes import D_MASS, INVERSE, SHIFT

# How many parameters a walk along the keys gives gradients to.
MOST = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kept:
    """What the backward pass needs: O(T) numbers, and what is to be differentiated."""

    x: Inputs
    places: Places
    o: Array
    top: Array | None
    mass: Array | None
    wanted: tuple[str, ...] = dataclasses.field(metadata={"static": True})


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(problem: Problem, x: Inputs, places: Places) -> Array:
    """Outputs [B, T, H, V]."""
    return forward(problem, x, places)[0]


def _fwd(problem: Problem, x: Any, places: Any) -> tuple[Array, Kept]:
    changes = jax.tree.map(lambda leaf: leaf.perturbed, x)
    x, places = (jax.tree.map(lambda leaf: leaf.value, tree) for tree in (x, places))
    o, top, mass = forward(problem, x, places)
    wanted = tuple(name for name, changed in changes.numbers.items() if changed)
    return o, Kept(x, places, o, top, mass, wanted)


def _bwd(problem: Problem, kept: Kept, do: Any) -> tuple[Any, None]:
    x, tile = kept.x, problem.tile
    if isinstance(do, jax.custom_derivatives.SymbolicZero):
        aval: Any = do.aval
        do = jnp.zeros(aval.shape, aval.dtype)
    numbers = {name: row for name, row in x.numbers.items() if name != "log_c"}
    found = jax.tree.map(jnp.zeros_like, x.numbers)
    if kept.mass is not None and kept.top is not None:
        empty = kept.mass == 0
        inverse = jnp.where(empty, 0, 1 / jnp.where(empty, 1, kept.mass))
        numbers[SHIFT] = kept.top
        if do.dtype == jnp.float16:
            # The cotangents over the mass would leave its range.
            numbers |= {INVERSE: inverse, D_MASS: -_products(kept.o, do)}
        else:
            scaled = do.astype(jnp.float32) * jnp.swapaxes(inverse, 1, 2)[..., None]
            do = scaled.astype(do.dtype)
            # Of the cotangents as they were rounded: what cancels must cancel.
            numbers[D_MASS] = -_products(kept.o, do)
        if "log_c" in kept.wanted:
            weight = tile.exp(x.numbers["log_c"] - kept.top)
            weight = weight * inverse if do.dtype == jnp.float16 else weight
            d_log_c = numbers[D_MASS] * weight * tile.unit
            found["log_c"] = _like(d_log_c, x.numbers["log_c"])
    given = x._replace(numbers=numbers)
    wanted = tuple(name for name in kept.wanted if name != "log_c")
    beside = 0 if problem.heavy else MOST
    first, others = wanted[:beside], wanted[beside:]
    dq, rows = gradients_of_rows(problem, given, kept.places, do, first)
    for i in range(0, len(others), MOST):
        more = others[i : i + MOST]
        walk = gradients_of_rows(problem, given, kept.places, do, more, with_q=False)
        rows |= walk[1]
    dk, dv = gradients_of_keys(problem, given, kept.places, do)
    found |= {name: _like(row, x.numbers[name]) for name, row in rows.items()}
    gradients = Inputs(dq, dk, dv, found)
    return gradients, None


fused.defvjp(_fwd, _bwd, symbolic_zeros=True)


def _products(a: Array, b: Array) -> Array:
    """Sums of a * b along the width, [B, H, T]."""
    product = a.astype(jnp.float32) * b.astype(jnp.float32)
    return jnp.swapaxes(product.sum(-1), 1, 2)


def _like(gradient: Array, x: Array) -> Array:
    """Summed over the axes along which x is shared."""
    pairs = enumerate(zip(x.shape, gradient.shape, strict=True))
    axes = tuple(i for i, (size, given) in pairs if size == 1 and given > 1)
    return gradient.sum(axis=axes, keepdims=True)
