"""Masked rows: the one place that knows what an invisible score is.

Rows lie along the last axis. `visible` is boolean and broadcasts against the row,
or is None where every score is visible. A row that sees nothing has zero weights.
"""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

Rows = Float[Array, "... n"]
Visible = Bool[Array, "... #n"] | None
Statistic = Float[Array, "... 1"]

# The name, for policies of `jax.checkpoint`, of what a search over a row has found.
SEARCHED = "softmax_jax.searched"


def hide(z: Rows, visible: Visible, fill: float | Statistic = 0.0) -> Rows:
    """z where visible, `fill` elsewhere; nothing hidden has a gradient."""
    return z if visible is None else jnp.where(visible, z, fill)


def maximum(z: Rows, visible: Visible) -> Statistic:
    """The largest visible score without its gradient; 0 where there is none.

    Every use is as a shift that cancels, so the missing gradient is exact.
    """
    z = jax.lax.stop_gradient(hide(z, visible, -jnp.inf))
    top = jnp.max(z, axis=-1, keepdims=True, initial=-jnp.inf)
    return jnp.where(top == -jnp.inf, 0, top)


def searched(found: Statistic) -> Statistic:
    """`found` under a name: a number per row that is worth keeping for the backward."""
    return checkpoint_name(found, SEARCHED)


def total(weights: Rows, visible: Visible) -> Statistic:
    """The sum over the visible entries."""
    return jnp.sum(hide(weights, visible), axis=-1, keepdims=True)


def visible_count(z: Rows, visible: Visible) -> Statistic:
    """n: how many scores of the row are visible, and 1 for an empty row.

    The weights of an empty row are zero whatever n is; 1 keeps log n and 1 / n,
    and so the gradients through them, finite.
    """
    if visible is None:
        n = jnp.full((1,) * z.ndim, z.shape[-1], z.dtype)
    else:
        seen = jnp.broadcast_to(visible, jnp.broadcast_shapes(visible.shape, z.shape))
        n = jnp.sum(seen, axis=-1, keepdims=True, dtype=z.dtype)
    return jnp.maximum(n, 1)


def reciprocal(mass: Statistic) -> Statistic:
    """1 / mass, and 0 where the mass is exactly 0; NaN stays NaN."""
    empty = mass == 0
    return jnp.where(empty, 0, 1 / jnp.where(empty, 1, mass))


def log(weights: Rows) -> Rows:
    """log w, and -inf without a gradient where w is exactly 0; NaN stays NaN."""
    zero = weights == 0
    return jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1, weights)))


@jax.custom_jvp
def positive(u: Rows) -> Rows:
    """max(u, 0), with derivative 0 at 0.

    The zero is made of u: a constant of the size of u XLA keeps in memory.
    """
    return jnp.maximum(u, u - u)


@positive.defjvp
def _positive_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    return positive(u), jnp.where(u > 0, du, 0)


@jax.custom_jvp
def squared_positive(u: Rows) -> Rows:
    """max(u, 0)^2, with a derivative in products alone, which XLA sums as it goes."""
    return jnp.square(positive(u))


@squared_positive.defjvp
def _squared_positive_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    r = positive(u)
    return jnp.square(r), (r + r) * du
