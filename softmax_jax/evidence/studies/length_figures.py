"""The figure of length generalization: a heat map of rows against lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """One figure."""
    return figures.save(heat_map(found), folder, "length_generalization")


def heat_map(found: Sequence[Result]) -> Figure:
    """Mean accuracy of every arm at every length; what lasts longest stands on top."""
    lengths = found[0].config["lengths"]
    means = {arm: _accuracy(found, arm) for arm in {result.arm for result in found}}
    arms = sorted(means, key=lambda arm: (-means[arm].mean(), arm))
    figure = figures.blank(width=6.4, height=1.4 + 0.24 * len(arms))
    (axes,) = figure.axes
    image = axes.imshow(
        [means[arm] for arm in arms], cmap="viridis", vmin=0, vmax=1, aspect="auto"
    )
    for row, arm in enumerate(arms):
        for column, value in enumerate(means[arm]):
            colour = "black" if value > 0.6 else "white"
            axes.text(
                column,
                row,
                f"{value:.2f}",
                color=colour,
                ha="center",
                va="center",
                fontsize=7,
            )
    longest = found[0].config["longest"]
    trained = sum(n <= longest for n in lengths)
    axes.axvline(trained - 0.5, color="white", linewidth=2)
    axes.set_title(f"accuracy; left of the line: trained on (up to {longest})", size=9)
    axes.set_xticks(range(len(lengths)), map(str, lengths))
    axes.set_yticks(range(len(arms)), arms, fontsize=8)
    axes.set_xlabel("length of the context (key-value pairs)")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    return figure


def _accuracy(found: Sequence[Result], arm: str) -> np.ndarray:
    """Means over the seeds, one per length."""
    rows = [result for result in found if result.arm == arm]
    lengths = found[0].config["lengths"]
    return np.mean([[r.metrics[f"accuracy@{n}"] for n in lengths] for r in rows], 0)
