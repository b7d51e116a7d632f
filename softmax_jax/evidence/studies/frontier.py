"""Multi-modality against sparsity: what no temperature can reach.

Softmax at all temperatures traces a curve through the plane of (S, M). A point above
the curve has more M than softmax has with the same S. Nothing here is random.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import softmax_jax as sj
from softmax_jax.analysis.modality import multimodality, softmax_tail, sparsity
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome

# S and M.
Point = tuple[float, float]
COLDEST, HOTTEST = 1e-2, 1e2


@dataclass(frozen=True)
class FrontierConfig:
    """One arm: one normalizer at several settings, on the same scores.

    Attributes:
      normalizer: a spec in which {} stands for the setting.
      settings: the numbers put there, a point for each.
      scores: "figure", the row [10, 8, -1] of the authors' figure, or "normal", 64 rows
        of 32 independent normal scores of standard deviation 2.
      threshold: scores above it are relevant, those below irrelevant.
    """

    normalizer: str = "softmax(temperature={})"
    settings: tuple[float, ...] = (1.0,)
    scores: str = "figure"
    threshold: float = 0.0


def run(config: FrontierConfig, seed: int, folder: Path, label: str) -> Outcome:
    """S and M at each setting, numbered from 1, and how they compare with softmax.

    `gain` is M less that of softmax at the temperature of equal S; `both` the smaller
    of the two differences from softmax at temperature 1; `trade_off` the least, over
    settings next to each other, of what M rises by and S falls by.
    """
    found = points(config)
    neutral_s, neutral_m = softmax_point(config, 1.0)
    metrics = {f"setting@{i}": s for i, s in enumerate(config.settings, 1)}
    for name, value in (
        ("sparsity", lambda s, m: s),
        ("modality", lambda s, m: m),
        ("gain", lambda s, m: m - at_sparsity(config, s)),
        ("both", lambda s, m: min(s - neutral_s, m - neutral_m)),
    ):
        for i, point in enumerate(found, 1):
            metrics[f"{name}@{i}"] = value(*point)
    if len(found) > 1:
        falls_and_rises = np.diff(np.array(found), axis=0) * [-1, 1]
        metrics["trade_off"] = float(falls_and_rises.min())
    return Outcome(metrics)


def points(config: FrontierConfig) -> list[Point]:
    """(S, M) at each setting."""
    x = scores(config)
    return [
        _point(config, sj.parse(config.normalizer.format(setting))(x))
        for setting in config.settings
    ]


def softmax_point(config: FrontierConfig, temperature: float) -> Point:
    """(S, M) of softmax on the scores of this arm."""
    return _point(config, jax.nn.softmax(scores(config) / float(temperature)))


def at_sparsity(config: FrontierConfig, wanted: float) -> float:
    """M of softmax at the temperature where its S is the one wanted, by bisection."""
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(40):
        middle = (low + high) / 2
        if softmax_point(config, np.exp(middle))[0] > wanted:
            low = middle
        else:
            high = middle
    return softmax_point(config, np.exp(low))[1]


def scores(config: FrontierConfig) -> Array:
    """Rows of scores."""
    if config.scores == "figure":
        return jnp.array([[10.0, 8.0, -1.0]])
    if config.scores == "normal":
        drawn = np.random.default_rng(0).normal(0, 2, (64, 32))
        return jnp.asarray(drawn, jnp.float32)
    raise UserError(f"scores={config.scores!r} is unknown; use figure, normal")


def _point(config: FrontierConfig, weights: Array) -> Point:
    x, threshold = scores(config), config.threshold
    s = sparsity(x, weights, threshold, softmax_tail(x, threshold))
    return float(s), float(multimodality(x, weights, threshold))
