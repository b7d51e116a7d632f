"""Multi-modality and sparsity of weights, the two metrics of the MultiMax paper.

Arrays hold rows of scores x and of the weights p that a normalizer gave them along the
last axis. An entry is relevant above a threshold and irrelevant below it. A row without
the entries that a metric is about is left out, not scored 1; if all are, it is NaN.

Reference: Zhou, Fritz and Keuper, 2024, arXiv 2406.01189, Definitions 3.2 and 3.3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Rows = Float[Array, "... n"]
Scalar = Float[Array, ""]


def multimodality(scores: Rows, weights: Rows, threshold: float) -> Scalar:
    """M = 1 - mean over {threshold < x_i < max x} of (max p - p_i), then over rows.

    1 where every relevant entry has as much weight as the top one.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> x = jnp.array([10.0, 8.0, -1.0])
    >>> round(float(multimodality(x, jax.nn.softmax(x), 0.0)), 3)
    0.238
    """
    top = scores.max(-1, keepdims=True)
    behind = weights.max(-1, keepdims=True) - weights
    return 1 - _mean(behind, (scores > threshold) & (scores < top))


def sparsity(
    scores: Rows, weights: Rows, threshold: float, reference: float | Scalar
) -> Scalar:
    """S = mean over {x_i < threshold} of exp(-p_i / reference), then over rows.

    1 where irrelevant entries have no weight at all, 1/e where they have `reference`:
    one number for all that is to be compared, such as `softmax_tail`.
    """
    return _mean(jnp.exp(-weights / reference), scores < threshold)


def softmax_tail(scores: Rows, threshold: float) -> Scalar:
    """The mean weight that softmax at temperature 1 gives to irrelevant entries."""
    return _mean(jax.nn.softmax(scores), scores < threshold)


def _mean(values: Rows, chosen: Bool[Array, "... n"]) -> Scalar:
    """The mean over the chosen entries of a row, then over the rows that have any."""
    count = chosen.sum(-1, dtype=values.dtype)
    means = jnp.where(chosen, values, 0).sum(-1) / jnp.maximum(count, 1)
    return means.sum() / (count > 0).sum(dtype=values.dtype)
