"""A member's functions in what Mosaic GPU lowers, in few MUFU operations.

A multiprocessor does 16 transcendentals in the time of 4096 tensor operations, so a
formula is chosen by how many it needs. Hopper's tanh has 11 bits: enough for a
soft-cap, not for a sigmoid whose weights are near 1 / n. A reciprocal is the square of
an inverse square root, one operation where a division is ten.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels import lean, rewrite
from softmax_jax.attention.kernels.mosaic_gpu.fold import folded
from softmax_jax.attention.kernels.mosaic_gpu.instructions import reciprocal
from softmax_jax.attention.kernels.tiles import Tile

LOG2_E = 1.4426950408889634


@dataclasses.dataclass(frozen=True)
class GpuTile(Tile):
    """The rule of a kernel, in these forms."""

    def lean(self, f: Callable) -> Callable:
        return rewritten(f, keep_derivatives=True)


def rewritten(f: Callable, *, keep_derivatives: bool = False) -> Callable:
    """f in the forms below; derivatives of its own are kept, or written out too."""
    again = rewrite.rewritten(f, FORMS, inline=not keep_derivatives)
    return again if keep_derivatives else folded(again)


@jax.custom_jvp
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), exact where it is small."""
    return reciprocal(1 + jnp.exp2(-LOG2_E * x))


@sigmoid.defjvp
def _sigmoid_jvp(primals, tangents):
    p = sigmoid(primals[0])
    return p, (p - p * p) * tangents[0]


@jax.custom_jvp
def log_sigmoid(x: Array) -> Array:
    """min(x, 0) - log(1 + e^-|x|), exact to the precision of 1."""
    return jnp.minimum(x, 0) - jnp.log(1 + jnp.exp2(-LOG2_E * jnp.abs(x)))


@log_sigmoid.defjvp
def _log_sigmoid_jvp(primals, tangents):
    """sigmoid(-x), of the same power."""
    (x,), (dx,) = primals, tangents
    t = jnp.exp2(-LOG2_E * jnp.abs(x))
    below = reciprocal(1 + t)
    slope = jnp.where(x > 0, t * below, below)
    return jnp.minimum(x, 0) - jnp.log(1 + t), slope * dx


@jax.custom_jvp
def log2_sigmoid(y: Array) -> Array:
    """log2 of sigmoid(y log 2)."""
    return jnp.minimum(y, 0) - jnp.log2(1 + jnp.exp2(-jnp.abs(y)))


@log2_sigmoid.defjvp
def _log2_sigmoid_jvp(primals, tangents):
    (y,), (dy,) = primals, tangents
    t = jnp.exp2(-jnp.abs(y))
    below = reciprocal(1 + t)
    slope = jnp.where(y > 0, t * below, below)
    return jnp.minimum(y, 0) - jnp.log2(1 + t), slope * dy


def softplus(x: Array) -> Array:
    return -log_sigmoid(-x)


def integer_power(x: Array, *, y: int) -> Array:
    """x^y, of a negative y by a division."""
    return jax.lax.integer_pow(x, y) if y >= 0 else 1 / jax.lax.integer_pow(x, -y)


def power(x: Array, y: ArrayLike) -> Array:
    return jnp.exp2(y * jnp.log2(x))


FORMS: dict[str, Callable] = {
    "add_any": jax.lax.add,
    "integer_pow": integer_power,
    "log_sigmoid": log_sigmoid,
    "_log2_sigmoid": log2_sigmoid,
    "logistic": sigmoid,
    "softplus": softplus,
    "logaddexp": lambda x, y: y + softplus(x - y),
    "div": lambda x, y: x * reciprocal(y),
    "expm1": lambda x: jnp.exp(x) - 1,
    "log1p": lambda x: jnp.log(1 + x),
    "pow": power,
    "reciprocal": reciprocal,
    "squared_positive": lean.squared_positive,
    "stop_gradient": lambda x: x,
}
