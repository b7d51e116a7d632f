"""A user's function as the vector unit likes it: equal in value, cheaper to compute.

`lean(f)` traces f and evaluates what it traced again, with forms that need few
transcendentals, and whose derivatives share them, in place of the general ones.
Everything else is left as it is, custom derivatives included. Unless it is asked to be
`exact`, small results may have the absolute error of larger ones, 1e-7: less than what
their rounding to bfloat16 costs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas
from jax.experimental.pallas import tpu
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.rewrite import rewritten


def reciprocal(x: Array, *, approx: bool = False) -> Array:
    """1 / x of a finite x, by the unit that TPUs have for it.

    `approx` leaves out the correction of what the unit gives.
    """
    of_tpu = getattr(tpu, "reciprocal", None)  # where JAX has it since 0.12
    return (of_tpu or pallas.reciprocal)(x, approx=approx, full_range=False)


def lean(f: Callable, *, exact: bool) -> Callable:
    """f, rewritten; arguments and results are arrays, or trees of them."""
    forms = FORMS if exact else FORMS | SHORT_FORMS
    return rewritten(f, forms)


@jax.custom_jvp
def log_sigmoid(x: Array) -> Array:
    """min(x, 0) - log(1 + e^-|x|), exact to the precision of 1."""
    return jnp.minimum(x, 0) - jnp.log(1 + jnp.exp(-jnp.abs(x)))


@log_sigmoid.defjvp
def _log_sigmoid_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    falling = -jnp.abs(x)
    log = jnp.log(1 + jnp.exp(falling))
    slope = jnp.exp(jnp.where(x > 0, falling, 0) - log)
    return jnp.minimum(x, 0) - log, slope * dx


def softplus(x: Array) -> Array:
    return -log_sigmoid(-x)


def logaddexp(x: ArrayLike, y: ArrayLike) -> Array:
    return jnp.add(y, softplus(jnp.subtract(x, y)))


def expm1(x: Array) -> Array:
    """(e^x + 1) tanh(x / 2): exact for small x too, in primitives that TPUs have."""
    return (jnp.exp(x) + 1) * jnp.tanh(x / 2)


def log1p(x: Array) -> Array:
    """log(1 + x), whose error for a small x is that of 1: enough for an exponent."""
    return jnp.log(1 + x)


@jax.custom_jvp
def sigmoid(x: Array) -> Array:
    """(1 + tanh(x / 2)) / 2: one transcendental, where the usual form divides."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


@sigmoid.defjvp
def _sigmoid_jvp(primals, tangents):
    p = sigmoid(primals[0])
    return p, (p - p * p) * tangents[0]


@jax.custom_jvp
def positive(u: Array) -> Array:
    """max(u, 0), with derivative 0 at 0."""
    return jnp.maximum(u, 0)


@positive.defjvp
def _positive_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    return jnp.maximum(u, 0), jnp.where(u > 0, du, 0)


@jax.custom_jvp
def squared_positive(u: Array) -> Array:
    """max(u, 0)^2 in two operations."""
    r = jnp.maximum(u, 0)
    return r * r


@squared_positive.defjvp
def _squared_positive_jvp(primals, tangents):
    r = jnp.maximum(primals[0], 0)
    return r * r, r * (2 * tangents[0])


FORMS: dict[str, Callable] = {
    "log_sigmoid": log_sigmoid,
    "softplus": softplus,
    "logaddexp": logaddexp,
    "expm1": expm1,
    "log1p": log1p,
    "positive": positive,
    "squared_positive": squared_positive,
}
SHORT_FORMS: dict[str, Callable] = {
    "expm1": lambda x: jnp.exp(x) - 1,
    "logistic": sigmoid,
    # Of numbers that belong to a row, the reciprocal is taken once.
    "div": lambda x, y: x * (1 / y),
}
