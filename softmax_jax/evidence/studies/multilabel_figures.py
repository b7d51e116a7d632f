"""The figure of the multi-label study: F1 and divergence on every set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result

STYLES = {
    "softmax": ("softmax, tuned threshold", figures.VERMILION, "o"),
    "softmax_counted": ("softmax, predicted number", figures.VERMILION, "^"),
    "sparsemax": ("sparsemax", figures.GREEN, "o"),
    "entmax15": ("entmax-1.5", figures.ORANGE, "o"),
    "r_softmax": ("r-softmax, predicted r", figures.BLUE, "o"),
    "r_softmax_true": ("r-softmax, true r", figures.BLUE, "x"),
}
LABELS = {"f1": "F1 of the set of labels", "js": "Jensen-Shannon divergence"}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """Mean, smallest and largest value over the seeds, arms side by side."""
    figure = figures.blank(columns=2, width=9.0)
    sets = found[0].config["sets"]
    arms = [arm for arm in STYLES if any(result.arm == arm for result in found)]
    for axes, metric in zip(figure.axes, LABELS, strict=True):
        for place, arm in enumerate(arms):
            label, colour, marker = STYLES[arm]
            rows = [result.metrics for result in found if result.arm == arm]
            values = np.array([[row[f"{metric}@{s}"] for s in sets] for row in rows])
            mean = values.mean(0)
            axes.errorbar(
                np.arange(len(sets)) + 0.12 * (place - len(arms) / 2),
                mean,
                yerr=[mean - values.min(0), values.max(0) - mean],
                fmt=marker,
                color=colour,
                label=label,
                markersize=5,
            )
        axes.set_xticks(range(len(sets)), sets)
        axes.set_xlabel("set: classes / mean number of labels")
        axes.set_ylabel(LABELS[metric])
        axes.set_ylim(bottom=0)
    figures.legend(figure)
    return figures.save(figure, folder, "multilabel")
