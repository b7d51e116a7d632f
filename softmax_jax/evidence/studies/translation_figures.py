"""The figure of the translation study: every arm in four numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result

ARMS = {
    "softmax": "softmax",
    "sparsemax": "sparsemax",
    "entmax15": "1.5-entmax",
    "rela_g": "ReLU, gated norm (ReLA-g)",
    "rela_i": "ReLU, small gain (ReLA-i)",
    "relu_rms": "ReLU, norm of gain 1",
    "relu_bare": "ReLU, no norm",
}
# Per panel: title, then metric, name in the legend and marker of each series.
PANELS = (
    ("sentences without an error", (("sentences_right", "", "o"),)),
    (
        "alignment error",
        (("aer", "mean of heads", "o"), ("aer_best_head", "best head", "D")),
    ),
    (
        "attention to the source",
        (("sparsity@cross", "zeros", "o"), ("null_rate@cross", "null rows", "D")),
    ),
    ("head diversity (nats)", (("head_diversity@cross", "", "o"),)),
)


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """One figure."""
    return figures.save(overview(found), folder, "translation")


def overview(found: Sequence[Result]) -> Figure:
    """Means over the seeds, with bars from the least to the largest of them."""
    figure = figures.blank(columns=len(PANELS), width=9.6, height=3.4)
    present = dict.fromkeys(result.arm for result in found)
    arms = sorted(present, key=[*ARMS, *present].index)
    names = [ARMS.get(arm, arm) for arm in arms]
    height = np.arange(len(arms))[::-1]
    for axes, (title, series) in zip(figure.axes, PANELS, strict=True):
        for number, (metric, label, marker) in enumerate(series):
            values = [[r.metrics[metric] for r in found if r.arm == a] for a in arms]
            low, mean, high = (
                np.array([of(row) for row in values]) for of in (min, np.mean, max)
            )
            axes.errorbar(
                mean,
                height,
                xerr=[mean - low, high - mean],
                fmt=marker,
                color=figures.PALETTE[1 - number],
                label=label,
            )
        axes.set_title(title, fontsize=9)
        axes.set_yticks(height, names if axes is figure.axes[0] else [])
        axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # from zero on
        axes.set_ylim(-0.5, len(arms) + 0.5)  # room for a legend
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
