"""Rotary position embedding, half-split, computed in float32."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def rotate(
    x: Float[Array, "b t h d"], positions: Int[Array, "#b t"], theta: float
) -> Float[Array, "b t h d"]:
    """(x1, x2) -> (x1 cos a - x2 sin a, x2 cos a + x1 sin a), a = pos * theta^(-2i/d).

    x1 and x2 are the halves of the last axis (Su et al., arXiv 2104.09864).
    """
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency.reshape(
        1, 1, 1, -1
    )
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)
    return rotated.astype(x.dtype)
