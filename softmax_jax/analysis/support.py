"""What attention leaves out: exact zeros, and rows with nothing in them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def sparsity_rate(
    weights: Float[Array, "*b t s"], visible: Bool[Array, "*#b #t #s"]
) -> Float[Array, ""]:
    """The share of visible weights that are exactly 0."""
    visible = jnp.broadcast_to(visible, weights.shape)
    return ((weights == 0) & visible).sum() / visible.sum()


def null_rate(
    weights: Float[Array, "*b t s"], visible: Bool[Array, "*#b #t #s"]
) -> Float[Array, ""]:
    """The share of rows whose visible weights are all 0, among rows that see a key."""
    visible = jnp.broadcast_to(visible, weights.shape)
    sees = visible.any(-1)
    empty = sees & ~((weights != 0) & visible).any(-1)
    return empty.sum() / sees.sum()
