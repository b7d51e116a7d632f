"""How many zeros a normalizer gives, against how many it was asked for."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import softmax_jax as sj
from softmax_jax.evidence import figures
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.results import Result

SCALES = (0.1, 1.0, 10.0)
DEEP = 100  # scores per row in the figure


@dataclass(frozen=True)
class SparsityLineConfig:
    """One arm: a normalizer on Gaussian scores.

    Attributes:
      normalizer: its spec; one with a parameter `r` is run at every rate.
      rates: shares of zeros that are asked for. r (n - 1) should be no integer: the
        score at the quantile itself weighs about eps, not 0.
      lengths, rows: scores per row, and rows at each length.
    """

    normalizer: str = "r_softmax"
    rates: tuple[float, ...] = (
        *(0.05, 0.15, 0.25, 0.35, 0.45),
        *(0.55, 0.65, 0.75, 0.85, 0.95),
    )
    lengths: tuple[int, ...] = (10, DEEP)
    rows: int = 1000


def run(config: SparsityLineConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Counts exact zeros.

    `zeros@r` and `zeros_by_scale@s` are mean shares of zeros in rows of 100 scores of
    standard deviation 1 and s; `spread` is how far the latter lie apart.
    `disagreement` is the share of rows whose zeros are not floor(r (n - 1)) + 1, and
    `disagreement_masked` the same with half of the scores masked, n and zeros being
    those of the visible half.
    """
    key = jax.random.key(seed)
    normalizer = sj.parse(config.normalizer)
    by_scale = {
        scale: _counts(normalizer, key, DEEP, config.rows, scale=scale).mean() / DEEP
        for scale in SCALES
    }
    metrics = {f"zeros_by_scale@{s:g}": float(z) for s, z in by_scale.items()}
    metrics["spread"] = float(max(by_scale.values()) - min(by_scale.values()))
    if hasattr(normalizer, "r"):
        metrics |= _line(normalizer, config, key)
    return Outcome(metrics)


def expected(rate: float, n: int) -> int:
    """The zeros of r-softmax among n distinct scores, for 0 <= r < 1."""
    return math.floor(rate * (n - 1)) + 1


def _line(
    normalizer: sj.Normalizer, config: SparsityLineConfig, key: jax.Array
) -> dict[str, float]:
    metrics, wrong, wrong_masked = {}, [], []
    for rate in config.rates:
        asked = dataclasses.replace(normalizer, r=rate)
        for n in config.lengths:
            found = _counts(asked, key, n, config.rows)
            wrong.append(np.mean(found != expected(rate, n)))
            masked = _counts(asked, key, n, config.rows, hidden=n)
            wrong_masked.append(np.mean(masked != expected(rate, n)))
        deep = _counts(asked, key, DEEP, config.rows)
        metrics[f"zeros@{rate:g}"] = float(deep.mean() / DEEP)
    return metrics | {
        "disagreement": float(np.mean(wrong)),
        "disagreement_masked": float(np.mean(wrong_masked)),
    }


def _counts(
    normalizer: sj.Normalizer,
    key: jax.Array,
    n: int,
    rows: int,
    *,
    scale: float = 1.0,
    hidden: int = 0,
) -> np.ndarray:
    """The number of zeros among the n visible scores of each row."""
    return np.asarray(_count(normalizer, key, n, rows, jnp.float32(scale), hidden))


@partial(jax.jit, static_argnames=("n", "rows", "hidden"))
def _count(normalizer, key, n: int, rows: int, scale, hidden: int) -> jax.Array:
    draw_key, mask_key = jax.random.split(key)
    z = scale * jax.random.normal(draw_key, (rows, n + hidden))
    place = jax.random.permutation(mask_key, jnp.arange(n + hidden))
    visible = jnp.broadcast_to(place < n, z.shape)
    p = normalizer(z, where=visible)
    return ((p == 0) & visible).sum(-1)


STYLES = {
    "sparsemax": ("sparsemax", figures.GREEN),
    "entmax15": ("entmax-1.5", figures.ORANGE),
    "softmax": ("softmax", figures.VERMILION),
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """The share of zeros against r, and the span of the maps that have no r."""
    figure = figures.blank()
    (axes,) = figure.axes
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    for result in found:
        rates = result.config["rates"]
        if result.seed or f"zeros@{rates[0]:g}" not in result.metrics:
            continue
        shares = [result.metrics[f"zeros@{rate:g}"] for rate in rates]
        label = "r-softmax"
        axes.plot(rates, shares, "o", color=figures.BLUE, label=label, zorder=5)
    for arm, (label, colour) in STYLES.items():
        ours = [result for result in found if result.arm == arm]
        if ours:
            spans = [[r.metrics[f"zeros_by_scale@{s:g}"] for s in SCALES] for r in ours]
            low, high = np.min(spans), np.max(spans)
            span = f"{label}, scores times {SCALES[0]:g} to {SCALES[-1]:g}"
            axes.axhspan(low, high, color=colour, alpha=0.3, linewidth=2, label=span)
    axes.set_xlabel("r, the share of zeros that is asked for")
    axes.set_ylabel("share of zeros among 100 scores")
    figures.legend(figure, columns=2)
    return figures.save(figure, folder, "sparsity_line")
