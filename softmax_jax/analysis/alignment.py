"""Which source word a cross-attention points at, against the words that are known.

Weights are [..., targets, sources]. A target word can be read from the step that
predicts it, or, shifted, from the next step, which has it as its input.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def aligned(weights: Float[Array, "*b t s"]) -> Bool[Array, "*b t s"]:
    """The source with the largest weight of each target; none where all are 0."""
    best = jnp.argmax(weights, axis=-1, keepdims=True)
    places = jnp.arange(weights.shape[-1]).reshape((1,) * (weights.ndim - 1) + (-1,))
    return (places == best) & (weights > 0)


def alignment_error_rate(
    found: Bool[Array, "*b t s"],
    sure: Bool[Array, "*b t s"],
    possible: Bool[Array, "*b t s"] | None = None,
) -> Float[Array, ""]:
    """AER = 1 - (|A and S| + |A and P|) / (|A| + |S|), counted over everything given.

    A are the links that were found, S the sure ones, P the possible ones, which contain
    S; by default P = S, and AER is one minus the F1 score. 0 is perfect. Och and Ney
    (2003), https://aclanthology.org/J03-1002.
    """
    possible = sure if possible is None else possible | sure
    right = (found & sure).sum() + (found & possible).sum()
    return 1 - right / (found.sum() + sure.sum())


def normal_and_shifted(
    weights: Float[Array, "*b steps s"],
) -> tuple[Float[Array, "*b t s"], Float[Array, "*b t s"]]:
    """The rows of the words: step t predicts word t, step t + 1 has it as its input.

    Steps are the words of the target and the end after them: one more than words.
    """
    return weights[..., :-1, :], weights[..., 1:, :]
