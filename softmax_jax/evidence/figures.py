"""The figures of an experiment, drawn from its stored results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from softmax_jax.evidence.results import Result

# Okabe and Ito's palette: told apart by every kind of colour vision.
STYLES = {
    "softmax": ("softmax", "#D55E00", "-"),
    "ssmax": ("Scalable-Softmax", "#0072B2", "-"),
    "ssmax_fixed": ("Scalable-Softmax, s fixed", "#009E73", "-"),
    "ssmax_bias": ("Scalable-Softmax with bias", "#CC79A7", "-"),
    "ssmax_swapped": ("softmax, swapped after training", "#56B4E9", "-"),
    "softmax_temperature": ("softmax, learned temperature", "#E69F00", "-"),
    "softmax_unit": ("softmax, unit variance", "#D55E00", "--"),
    "ssmax_unit": ("Scalable-Softmax, unit variance", "#0072B2", "--"),
}
LABELS = {
    "accuracy": "accuracy of the answer",
    "needle_weight": "attention weight on the needle",
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """Draws every figure that the results allow and says where they are."""
    ours = [result for result in found if result.study == "lookup"]
    if not ours:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    names = {"accuracy": "lookup", "needle_weight": "lookup_weight"}
    made = []
    for metric, name in names.items():
        figure = against_length(ours, metric)
        for ending in ("png", "svg"):
            made.append(folder / f"{name}.{ending}")
            figure.savefig(made[-1], dpi=200)
    return made


def against_length(found: Sequence[Result], metric: str) -> Figure:
    """A lookup metric against the number of pairs: means, and bands over the seeds."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
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
        axes.text(
            lengths[-1], chance + 0.015, "chance", color="0.4", ha="right", fontsize=9
        )
    axes.set_ylabel(LABELS[metric])
    figure.legend(
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=3,  # shows dashes
        columnspacing=1,
    )
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
    axes.spines[["top", "right"]].set_visible(False)
