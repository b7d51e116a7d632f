"""How much the heads of a layer differ."""

import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float


def head_diversity(
    weights: Float[Array, "*b h t s"], counted: Bool[Array, "*b t"] | None = None
) -> Float[Array, ""]:
    """H(mean_h p_h) - mean_h H(p_h) in nats, meaned over rows: the generalised JS.

    Every row of weights is first divided by its sum, so that all normalizers are
    compared as distributions. A head with nothing in a row has no distribution there
    and is left out of it; rows with fewer than two heads count as 0. `counted` are the
    rows that count; by default all. The value lies between 0 and log(heads).
    """
    mass = weights.sum(-1, keepdims=True)
    p = weights / jnp.where(mass > 0, mass, 1)
    heads = (mass[..., 0] > 0).sum(-2).astype(p.dtype)  # with mass, per row
    number = jnp.maximum(heads, 1)
    mean = p.sum(-3) / number[..., None]
    divergence = entr(mean).sum(-1) - entr(p).sum(-1).sum(-2) / number
    if counted is None:
        return divergence.mean()
    rows = counted.sum().astype(divergence.dtype)
    return jnp.where(counted, divergence, 0).sum() / rows
