"""Spectral-aware softmax: each sample is drawn to the prototype of the other modality.

Features [..., d]; labels [...] in 0 ... K - 1; modalities [...], 0 or 1. Of the 2 K
prototypes the first K are those of modality 0. Losses are one number per sample. As in
`sparse_softmax_loss`, a label or modality outside its range costs NaN.

arXiv 2302.01512, the formulas as in the code of its authors.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import compute_dtype

Features = Float[Array, "*b d"]
Numbers = Int[Array, "*b"]
Prototypes = Float[Array, "p d"]
PerSample = Float[Array, "*b"]


def identity_loss(
    features: Features, weight: Float[Array, "k d"], labels: Numbers
) -> PerSample:
    """Cross-entropy of the classifier that both modalities share."""
    logits = _products(features, weight)
    return jax.nn.logsumexp(logits, axis=-1) - _at(logits, labels)


def own_modality_loss(
    features: Features, prototypes: Prototypes, labels: Numbers, modalities: Numbers
) -> PerSample:
    """Cross-entropy over all 2 K prototypes; the target is that of the own modality."""
    logits = _products(features, prototypes)
    own, _ = _places(labels, modalities, _identities(prototypes))
    return jax.nn.logsumexp(logits, axis=-1) - _at(logits, own)


def other_modality_loss(
    features: Features,
    prototypes: Prototypes,
    labels: Numbers,
    modalities: Numbers,
    *,
    mask: bool = True,
) -> PerSample:
    """Cross-entropy whose target is the label's prototype in the other modality.

    With `mask` the label's prototype in the own modality does not compete: it has no
    influence and no gradient. (The release subtracts 50 from its logit.)
    """
    logits = _products(features, prototypes)
    own, other = _places(labels, modalities, _identities(prototypes))
    competes = None
    if mask:
        columns = jnp.arange(logits.shape[-1]).reshape((1,) * labels.ndim + (-1,))
        competes = columns != own[..., None]
    return jax.nn.logsumexp(logits, axis=-1, where=competes) - _at(logits, other)


def absolute_similarity(
    features: Features, prototypes: Prototypes, labels: Numbers, modalities: Numbers
) -> PerSample:
    """(1 - cos(feature, the label's prototype in the other modality))^2.

    In [0, 4]; the cosine with a zero vector is 0.
    """
    _, other = _places(labels, modalities, _identities(prototypes))
    inside = (other >= 0) & (other < len(prototypes))
    chosen = prototypes[jnp.where(inside, other, 0)]
    cosine = (_unit(features) * _unit(chosen)).sum(-1)
    return jnp.where(inside, jnp.square(1 - cosine), jnp.nan)


def spectral_aware_loss(
    features: Features,
    weight: Float[Array, "k d"],
    prototypes: Prototypes,
    labels: Numbers,
    modalities: Numbers,
    *,
    spectral: float = 0.7,
    similarity: float = 1.0,
    mask: bool = True,
) -> PerSample:
    """(1 - a) identity_loss + a other_modality_loss + b absolute_similarity.

    a is `spectral` and b `similarity`. What the network and the classifier minimise:
    the prototypes get no gradient, they follow in `prototype_step`.

    Raises UserError unless there are two prototypes for every row of `weight`.
    """
    if len(prototypes) != 2 * len(weight):
        raise UserError(
            f"spectral_aware_loss: {len(weight)} identities need {2 * len(weight)} "
            f"prototypes, got {len(prototypes)}"
        )
    fixed = jax.lax.stop_gradient(prototypes)
    given = (features, fixed, labels, modalities)
    return (
        (1 - spectral) * identity_loss(features, weight, labels)
        + spectral * other_modality_loss(*given, mask=mask)
        + similarity * absolute_similarity(*given)
    )


def prototype_loss(
    features: Features, prototypes: Prototypes, labels: Numbers, modalities: Numbers
) -> PerSample:
    """`own_modality_loss` for the prototypes alone: the features get no gradient."""
    fixed = jax.lax.stop_gradient(features)
    return own_modality_loss(fixed, prototypes, labels, modalities)


def prototype_step(
    features: Features,
    prototypes: Prototypes,
    labels: Numbers,
    modalities: Numbers,
    *,
    learning_rate: float,
) -> Prototypes:
    """The prototypes after a step of gradient descent on the mean `prototype_loss`.

    The asynchronous half of training: it comes after the step of the network, with the
    features that the network then gives.
    """

    def mean(prototypes: Array) -> Array:
        return prototype_loss(features, prototypes, labels, modalities).mean()

    return prototypes - learning_rate * jax.grad(mean)(prototypes)


def _identities(prototypes: Array) -> int:
    if len(prototypes) % 2:
        raise UserError(
            f"there must be two prototypes for each identity, got {len(prototypes)}"
        )
    return len(prototypes) // 2


def _places(labels: Array, modalities: Array, identities: int) -> tuple[Array, Array]:
    """Rows of the label's prototypes, own and other; -1 for what is out of range."""
    known = (labels >= 0) & (labels < identities)
    known = known & ((modalities == 0) | (modalities == 1))
    own = labels + identities * modalities
    other = labels + identities * (1 - modalities)
    return jnp.where(known, own, -1), jnp.where(known, other, -1)


def _products(features: Array, rows: Array) -> Array:
    dtype = compute_dtype(features.dtype)
    return jnp.einsum("...d,kd->...k", features, rows, preferred_element_type=dtype)


def _at(logits: Array, places: Array) -> Array:
    """The logit at each place, NaN outside."""
    inside = (places >= 0) & (places < logits.shape[-1])
    safe = jnp.where(inside, places, 0)
    found = jnp.take_along_axis(logits, safe[..., None], axis=-1)[..., 0]
    return jnp.where(inside, found, jnp.nan)


def _unit(x: Array) -> Array:
    """x / |x|, and 0 without a gradient where x is 0."""
    square = jnp.square(x.astype(compute_dtype(x.dtype))).sum(-1, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0, x * jax.lax.rsqrt(jnp.where(zero, 1, square)))
