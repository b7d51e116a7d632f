"""How far a row of weights is from uniform and from one-hot, and what gradient is left.

J = diag(p) - p p^T is the Jacobian of softmax: it vanishes where p is one-hot.
"""

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

Weights = Float[Array, "... n"]
PerRow = Float[Array, "..."]


def entropy(weights: Weights) -> PerRow:
    """-sum p log p / log n: 1 where all n weights are equal, 0 where one has it all."""
    return -xlogy(weights, weights).sum(-1) / jnp.log(weights.shape[-1])


def jacobian_norm(weights: Weights) -> PerRow:
    """|J|, the Frobenius norm of the derivative of softmax weights by their scores.

    Uniform weights have sqrt(n - 1) / n, two weights of one half 1/2, one-hot ones 0.
    """
    square = weights**2
    total = square.sum(-1)
    return jnp.sqrt(jnp.maximum(total - 2 * (square * weights).sum(-1) + total**2, 0))


def query_jacobian_norm(
    weights: Float[Array, "queries n"],
    keys: Float[Array, "n d"],
    multiplier: float | Float[Array, ""],
) -> Float[Array, " queries"]:
    """|c J K|, the norm of dp/dq where the scores are c K q and softmax gives p.

    Row i of J K is p_i (k_i - sum_j p_j k_j).
    """
    mean = weights @ keys
    square = ((keys[None] - mean[:, None]) ** 2).sum(-1)
    return multiplier * jnp.sqrt((weights**2 * square).sum(-1))
