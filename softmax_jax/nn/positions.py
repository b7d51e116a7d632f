"""Sinusoids, which are added to embeddings where a configuration asks for them."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from softmax_jax.attention.partition import Partition, positions
from softmax_jax.nn.config import BlocksConfig


def with_positions(
    embedded: Float[Array, "b t w"],
    config: BlocksConfig,
    start: ArrayLike = 0,
    partition: Partition | None = None,
) -> Float[Array, "b t w"]:
    """sqrt(w) x + [sin(pos a), cos(pos a)], a_i = 10000^(-2i/w); x if not asked for.

    The sequence begins at `start`; its tokens lie in the order of `partition` (Vaswani
    et al., arXiv 1706.03762, 3.4 and 3.5).
    """
    if config.positions != "sinusoid":
        return embedded
    width = config.width
    place = start + positions(embedded.shape[1], partition)
    frequency = 10_000 ** (-jnp.arange(0, width, 2) / width)
    angle = place.astype(jnp.float32)[:, None] * frequency[None]
    sinusoids = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return embedded * width**0.5 + sinusoids[None].astype(embedded.dtype)
