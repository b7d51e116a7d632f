"""The rank law: how many dimensions heads with random weights have, in float64."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies.output_head import (
    OutputHead,
    in_float64,
    rank_metrics,
    shifted,
)


@dataclass(frozen=True)
class RankLawConfig:
    """One arm of the rank law.

    Attributes:
      link, components: of the head; see `OutputHead`.
      widths: of the heads.
      contexts, classes: of each matrix of log-probabilities.
      spread: the deviation of the logits of one layer.
      shifts: added to all logits of a row, for the distance to softmax without.
    """

    link: str = "softmax"
    components: int | None = None
    widths: tuple[int, ...] = (4, 8, 16)
    contexts: int = 256
    classes: int = 128
    spread: float = 2.0
    shifts: tuple[int, ...] = (5, 10, 20)


def run(config: RankLawConfig, seed: int, folder: Path, label: str) -> Outcome:
    """`rank_metrics` and what a head has beyond one layer, for every width.

    `extra_parameters@d` counts the head's parameters but its matrix of classes. Of one
    layer `distance@c` is max |p(z + c) - softmax(z)|, over all rows of the last width.
    """
    found = {}
    for width in config.widths:
        matrix, head, _ = drawn(config, width, seed)
        own = sum(x.size for x in jax.tree.leaves(nnx.state(head, nnx.Param)))
        measured = rank_metrics(matrix, width)
        measured["extra_parameters"] = float(own - head.weight.size)
        found |= {f"{name}@{width}": x for name, x in measured.items()}
    if config.components is None:
        found |= _distances(config, seed)
    return Outcome(found)


def drawn(
    config: RankLawConfig, width: int, seed: int
) -> tuple[np.ndarray, OutputHead, np.ndarray]:
    """Log-probabilities, the random head they are of, and its contexts."""
    head = OutputHead(
        width,
        width,
        config.classes,
        config.link,
        config.components,
        spread=config.spread,
        rngs=nnx.Rngs(seed),
    )
    rng = np.random.default_rng(seed)
    contexts = rng.normal(size=(config.contexts, width)).astype(np.float32)
    return in_float64(head.given(jnp.asarray(contexts)), config.link), head, contexts


def _distances(config: RankLawConfig, seed: int) -> dict[str, float]:
    _, head, contexts = drawn(config, config.widths[-1], seed)
    given = head.given(jnp.asarray(contexts))
    plain = np.exp(in_float64(given, "softmax"))
    found = {}
    for shift in config.shifts:
        more = shifted(given, jnp.full((config.contexts, 1), float(shift)))
        there = np.exp(in_float64(more, config.link))
        found[f"distance@{shift}"] = float(np.abs(there - plain).max())
    return found
