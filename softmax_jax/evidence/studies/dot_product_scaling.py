"""What the divisor of q.k does to softmax weights and to their gradients, simulated."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from softmax_jax.analysis import saturation
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome

DIVISORS = {
    "one": lambda keys: jnp.ones(keys.shape[:-2]),
    "root_width": lambda keys: jnp.full(keys.shape[:-2], keys.shape[-1] ** 0.5),
    "sum": lambda keys: jnp.linalg.norm(keys, axis=-1).sum(-1),
    "max": lambda keys: jnp.linalg.norm(keys, axis=-1).max(-1),
    "root_sum_square": lambda keys: jnp.linalg.norm(keys, axis=(-2, -1)),
}


@dataclass(frozen=True)
class ScalingConfig:
    """One arm of the simulation.

    Attributes:
      divisor: of the dot products: one, root_width, sum, max or root_sum_square, the
        last three of the lengths of the keys.
      width, keys, queries: so many of independent standard normal components.
      planted_width, planted_lengths, planted_queries: among so many keys, one equals
        the query.
    """

    divisor: str = "root_width"
    width: int = 256
    keys: int = 32
    queries: int = 500
    planted_width: int = 64
    planted_lengths: tuple[int, ...] = (8, 32, 128, 512)
    planted_queries: int = 200


def run(config: ScalingConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Simulates queries and keys; all arms of a seed and a width see the same ones."""
    dot, weights = simulate(config, seed)
    queries, keys = draw_vectors(config, seed)
    multiplier = 1 / divisor(config, keys)
    jacobian = saturation.jacobian_norm(weights)
    reaching = saturation.query_jacobian_norm(weights, keys, multiplier)
    metrics = {
        "score_std": float((dot * multiplier).std()),
        "entropy": float(saturation.entropy(weights).mean()),
        "largest_weight": float(jnp.median(weights.max(-1))),
        "jacobian_score": float(jacobian.mean()),
        "jacobian_score_median": float(jnp.median(jacobian)),
        "jacobian_query": float(reaching.mean()),
        "correlation": float(correlation(dot, weights).mean()),
        "skewness": float(skewness(weights)),
    }
    for n in config.planted_lengths:
        metrics[f"planted_weight@{n}"] = float(planted_weight(config, seed, n))
    return Outcome(metrics)


def simulate(config: ScalingConfig, seed: int) -> tuple[Array, Array]:
    """Dot products and weights, both [queries, keys]."""
    queries, keys = draw_vectors(config, seed)
    dot = queries @ keys.T
    return dot, jax.nn.softmax(dot / divisor(config, keys))


def draw_vectors(config: ScalingConfig, seed: int) -> tuple[Array, Array]:
    """Queries [queries, width] and keys [keys, width]."""
    for_queries, for_keys = jax.random.split(jax.random.key(seed))
    return (
        jax.random.normal(for_queries, (config.queries, config.width)),
        jax.random.normal(for_keys, (config.keys, config.width)),
    )


def divisor(
    config: ScalingConfig, keys: Float[Array, "*batch n d"]
) -> Float[Array, "*batch"]:
    """What the dot products with these keys are divided by."""
    if config.divisor not in DIVISORS:
        raise UserError(
            f"divisor={config.divisor!r} is unknown; use {', '.join(DIVISORS)}"
        )
    return DIVISORS[config.divisor](keys)


def planted_weight(config: ScalingConfig, seed: int, n: int) -> Float[Array, ""]:
    """The mean weight on a key that equals the query, among n keys."""
    shape = (config.planted_queries, n, config.planted_width)
    keys = jax.random.normal(jax.random.key(seed), shape)
    dot = jnp.einsum("bnd,bd->bn", keys, keys[:, 0])
    return jax.nn.softmax(dot / divisor(config, keys)[:, None])[:, 0].mean()


def correlation(
    a: Float[Array, "rows n"], b: Float[Array, "rows n"]
) -> Float[Array, " rows"]:
    """Pearson's, within each row."""
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    return (a * b).sum(-1) / jnp.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def skewness(values: Array) -> Float[Array, ""]:
    """The third standardised moment: 0 for a symmetric distribution."""
    return (((values - values.mean()) / values.std()) ** 3).mean()


def as_released(weights: np.ndarray) -> np.ndarray:
    """What the author's code plots as the weights of the first key.

    It fills [keys, queries] into a matrix with a row per query, without transposing:
    its first column holds all keys of the first queries / keys queries.
    """
    return weights.ravel()[: len(weights)]
