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
from softmax_jax.attention.kernels.mosaic_gpu.problem import (
    Inputs,
    Lists,
    Places,
    Problem,
)
from softmax_jax.attention.kernels.mosaic_gpu.slopes import (
    D_MASS,
    INVERSE,
    SHIFT,
    SLOPE,
    SLOPED,
)
from softmax_jax.attention.kernels.mosaic_gpu.support import lists_of
from softmax_jax.attention.kernels.mosaic_gpu.threshold import threshold
from softmax_jax.attention.kernels.tiles import Rows
from softmax_jax.normalizers.base import Threshold

# How many parameters a walk along the keys gives gradients to.
MOST = 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kept:
    """What the backward pass needs: O(T) numbers, and what is to be differentiated."""

    x: Inputs
    places: Places
    o: Array
    shift: Array | None
    mass: Array | None
    touched: Array | None
    wanted: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    wants_bias: bool = dataclasses.field(metadata={"static": True})


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(problem: Problem, x: Inputs, places: Places) -> Array:
    """Outputs [B, T, H, V]."""
    return _forward(problem, x, places)[0]


def _forward(
    problem: Problem, x: Inputs, places: Places
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Outputs, shift and mass of rows, and the blocks of a support."""
    if problem.tile.family is Threshold:
        o, tau, touched = threshold(problem, x, places)
        return o, tau, None, touched
    o, top, mass = forward(problem, x, places)
    known = problem.tile.constant_shift(x.numbers.get("log_c"))
    return o, known if top is None else top, mass, None


def _fwd(problem: Problem, x: Any, places: Any) -> tuple[Array, Kept]:
    changes = jax.tree.map(lambda leaf: leaf.perturbed, x)
    x, places = (jax.tree.map(lambda leaf: leaf.value, tree) for tree in (x, places))
    o, shift, mass, touched = _forward(problem, x, places)
    wanted = tuple(name for name, changed in changes.numbers.items() if changed)
    wants_bias = bool(changes.bias)
    return o, Kept(x, places, o, shift, mass, touched, wanted, wants_bias)


def _bwd(problem: Problem, kept: Kept, do: Any) -> tuple[Any, None]:
    x, unit = kept.x, problem.tile.unit
    if isinstance(do, jax.custom_derivatives.SymbolicZero):
        aval: Any = do.aval
        do = jnp.zeros(aval.shape, aval.dtype)
    found = jax.tree.map(jnp.zeros_like, x.numbers)
    do, numbers, d_log_c = _of_rows(problem, kept, do)
    if d_log_c is not None:
        found["log_c"] = _like(d_log_c, x.numbers["log_c"])
    lists = Lists()
    if kept.touched is not None and problem.listed:
        lists = lists_of(problem, kept.places, kept.touched)
    given = x._replace(numbers=numbers)
    wanted = tuple(name for name in kept.wanted if name != "log_c")
    beside = MOST if problem.roomy else 0
    first, others = wanted[:beside], wanted[beside:]
    walk = functools.partial(gradients_of_rows, problem)
    if kept.touched is not None:
        sums = walk(given, kept.places, lists, do, (SLOPE, SLOPED), with_q=False)[1]
        numbers[D_MASS] = -sums[SLOPED] / jnp.where(sums[SLOPE] == 0, 1, sums[SLOPE])
        given = given._replace(numbers=numbers)
    wants = kept.wants_bias
    dq, rows, d_bias = walk(given, kept.places, lists, do, first, with_bias=wants)
    for i in range(0, len(others), MOST):
        more = others[i : i + MOST]
        rows |= walk(given, kept.places, lists, do, more, with_q=False)[1]
    dk, dv = gradients_of_keys(problem, given, kept.places, lists, do)
    found |= {name: _like(row, x.numbers[name]) for name, row in rows.items()}
    if x.bias is not None:
        none = d_bias is None
        d_bias = jnp.zeros_like(x.bias) if none else _like(d_bias * unit, x.bias)
        d_bias = d_bias.astype(x.bias.dtype)
    return Inputs(dq, dk, dv, d_bias, found), None


fused.defvjp(_fwd, _bwd, symbolic_zeros=True)


def _of_rows(
    problem: Problem, kept: Kept, do: Array
) -> tuple[Array, Rows, Array | None]:
    """The cotangents of sum W v, all numbers of rows, and the gradient to log c."""
    x = kept.x
    numbers = {name: row for name, row in x.numbers.items() if name != "log_c"}
    if kept.shift is not None:
        numbers[SHIFT] = kept.shift
    if kept.mass is None:
        return do, numbers, None
    empty = kept.mass == 0
    inverse = jnp.where(empty, 0, 1 / jnp.where(empty, 1, kept.mass))
    half = do.dtype == jnp.float16
    if half:
        # The cotangents over the mass would leave its range.
        numbers |= {INVERSE: inverse, D_MASS: -_products(kept.o, do)}
    else:
        scaled = do.astype(jnp.float32) * jnp.swapaxes(inverse, 1, 2)[..., None]
        do = scaled.astype(do.dtype)
        # Of the cotangents as they were rounded: what cancels must cancel.
        numbers[D_MASS] = -_products(kept.o, do)
    if "log_c" not in kept.wanted or kept.shift is None:
        return do, numbers, None
    weight = problem.tile.exp(x.numbers["log_c"] - kept.shift)
    weight = weight * inverse if half else weight
    return do, numbers, numbers[D_MASS] * weight * problem.tile.unit


def _products(a: Array, b: Array) -> Array:
    """Sums of a * b along the width, [B, H, T]."""
    product = a.astype(jnp.float32) * b.astype(jnp.float32)
    return jnp.swapaxes(product.sum(-1), 1, 2)


def _like(gradient: Array, x: Array) -> Array:
    """Summed over the axes along which x is shared."""
    pairs = enumerate(zip(x.shape, gradient.shape, strict=True))
    axes = tuple(i for i, (size, given) in pairs if size == 1 and given > 1)
    return gradient.sum(axis=axes, keepdims=True)
