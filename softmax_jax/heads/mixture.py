"""Mixtures of softmaxes: log p = log sum_k pi_k p_k, in logarithms throughout.

The classes share one matrix W; component k has the logits link(W latent_k + bias).
arXiv 1711.03953 (MoS); with sigsoftmax as the link arXiv 1805.10829 (MoSS).
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from softmax_jax.losses.linear import Axes, linear_cross_entropy
from softmax_jax.losses.links import for_tiles, parse_link
from softmax_jax.normalizers.base import Normalizer, compute_dtype


def mixture_cross_entropy(
    latents: Float[ArrayLike, "*b k d"],
    prior: Float[ArrayLike, "*b k"],
    weight: Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*b"],
    bias: Float[ArrayLike, " v"] | None = None,
    *,
    link: str | Normalizer = "softmax",
    tokens: P | None = None,
    vocabulary: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, "*b"]:
    """-log sum_k pi_k p_k(label), pi = softmax(prior); one per token.

    No component's logits are ever in memory: every component of a token is a token of
    `linear_cross_entropy`, whose options and rules for labels these are. The gradient
    of component k is that of its own loss times its share of p(label). No number is
    added inside a logarithm, so that a loss of any size is what it is.

    >>> import jax.numpy as jnp
    >>> from softmax_jax.heads import mixture_cross_entropy
    >>> latents = jnp.array([[[1.0], [-1.0]]])
    >>> weight, label = jnp.array([[2.0], [0.0]]), jnp.array([0])
    >>> [
    ...     round(float(mixture_cross_entropy(latents, p, weight, label)[0]), 3)
    ...     for p in (jnp.array([[0.0, 0.0]]), jnp.array([[9.0, 0.0]]))
    ... ]
    [0.693, 0.127]
    """
    latents, labels = jnp.asarray(latents), jnp.asarray(labels)
    each = linear_cross_entropy(
        latents,
        weight,
        jnp.broadcast_to(labels[..., None], latents.shape[:-1]),
        bias,
        link=link,
        tokens=tokens,
        vocabulary=vocabulary,
        tile=tile,
    )
    counted = labels[..., None] >= 0
    log_prior = _log_prior(jnp.where(counted, jnp.asarray(prior), 0), each.dtype)
    loss = -jax.nn.logsumexp(log_prior - each, axis=-1)
    return jnp.where(labels >= 0, loss, 0)


def mixture_log_probabilities(
    latents: Float[ArrayLike, "*b k d"],
    prior: Float[ArrayLike, "*b k"],
    weight: Float[ArrayLike, "v d"],
    bias: Float[ArrayLike, " v"] | None = None,
    *,
    link: str | Normalizer = "softmax",
) -> Float[Array, "*b v"]:
    """log sum_k pi_k p_k of every class, in float32 or wider.

    One component after the other, so that it needs the memory of one softmax.
    """
    latents = jnp.asarray(latents)
    dtype = compute_dtype(latents.dtype)
    weight = jnp.asarray(weight).astype(latents.dtype)
    map_ = for_tiles(parse_link(link), dtype)
    lead = (1,) * (latents.ndim - 2)
    offset = None if bias is None else jnp.asarray(bias, dtype).reshape(*lead, -1)

    def add(log_p: Array, component: tuple[Array, Array]) -> tuple[Array, None]:
        latent, log_share = component
        z = jnp.einsum("...d,vd->...v", latent, weight, preferred_element_type=dtype)
        u = map_.log_weight(z if offset is None else z + offset)
        log_own = jax.nn.log_softmax(u) + log_share[..., None]
        return jnp.logaddexp(log_p, log_own), None

    nothing = jnp.full((*latents.shape[:-2], weight.shape[0]), -jnp.inf, dtype)
    components = jnp.moveaxis(latents, -2, 0)
    shares = jnp.moveaxis(_log_prior(prior, dtype), -1, 0)
    return jax.lax.scan(add, nothing, (components, shares))[0]


def _log_prior(prior: ArrayLike, dtype: jnp.dtype) -> Array:
    return jax.nn.log_softmax(jnp.asarray(prior).astype(dtype), axis=-1)
