"""The figures of the lookup study: accuracy and needle weight against length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result

STYLES = {
    "softmax": ("softmax", figures.VERMILION, "-"),
    "ssmax": ("Scalable-Softmax", figures.BLUE, "-"),
    "ssmax_fixed": ("Scalable-Softmax, s fixed", figures.GREEN, "-"),
    "ssmax_bias": ("Scalable-Softmax with bias", figures.PURPLE, "-"),
    "ssmax_swapped": ("softmax, swapped after training", figures.SKY, "-"),
    "softmax_temperature": ("softmax, learned temperature", figures.ORANGE, "-"),
    "softmax_unit": ("softmax, unit variance", figures.VERMILION, "--"),
    "ssmax_unit": ("Scalable-Softmax, unit variance", figures.BLUE, "--"),
    "multimax": ("MultiMax", figures.BLUE, "-"),
    "multimax_first": ("MultiMax, first order", figures.GREEN, "-"),
    "sum": ("divided by Σ|k|", figures.BLUE, "-"),
    "max": ("divided by max |k|", figures.GREEN, "-"),
    "sum_unit": ("divided by Σ|k|, unit variance", figures.BLUE, "--"),
    "root_sum_square": ("divided by √Σ|k|²", figures.PURPLE, "-"),
}
LABELS = {
    "accuracy": "accuracy of the answer",
    "needle_weight": "attention weight on the needle",
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """One figure per metric."""
    names = {"accuracy": "lookup", "needle_weight": "lookup_weight"}
    made = []
    for metric, name in names.items():
        made += figures.save(against_length(found, metric), folder, name)
    return made


def against_length(found: Sequence[Result], metric: str) -> Figure:
    """A lookup metric against the number of pairs: means, and bands over the seeds."""
    figure = figures.blank()
    (axes,) = figure.axes
    lengths = np.array(found[0].config["lengths"])
    arms = dict.fromkeys(result.arm for result in found)
    for place, arm in enumerate(sorted(arms, key=[*STYLES, *arms].index)):
        label, colour, dashes = STYLES.get(arm, (arm, "0.3", "-"))
        rows = [result for result in found if result.arm == arm]
        values = np.array([[r.metrics[f"{metric}@{n}"] for n in lengths] for r in rows])
        axes.plot(
            lengths,
            values.mean(0),
            f"o{dashes}",
            color=colour,
            linewidth=2,
            markersize=4,
            label=label,
            zorder=20 - place,  # what comes first in the legend lies on top
            clip_on=False,
        )
        low, high = values.min(0), values.max(0)
        axes.fill_between(lengths, low, high, color=colour, alpha=0.2, linewidth=0)
    settings = found[0].config
    _frame(axes, settings["shortest"], settings["longest"], lengths)
    if metric == "accuracy":
        chance = 1 / settings["values"]
        axes.axhline(chance, color="0.5", linewidth=1, linestyle=":")
        style = {"color": "0.4", "fontsize": 9}
        axes.text(lengths[-1], chance - 0.015, "chance", ha="right", va="top", **style)
    axes.set_ylabel(LABELS[metric])
    figures.legend(figure)
    return figure


def _frame(axes: Axes, shortest: int, longest: int, lengths: np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.axvspan(shortest, longest, color="0.92", linewidth=0, zorder=0)
    middle = (shortest * longest) ** 0.5
    axes.text(middle, 1.07, "trained here", color="0.35", ha="center", fontsize=9)
    ticks = sorted({shortest, *map(int, lengths)})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(map(str, ticks))
    axes.set_xlim(shortest, lengths[-1] * 1.1)
    axes.set_ylim(0, 1.15)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_xlabel("length of the context (key-value pairs)")
