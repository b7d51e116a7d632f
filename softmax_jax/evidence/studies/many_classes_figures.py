"""The figure of the many-class study: accuracy and logit range during training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result

STYLES = {
    "softmax": ("softmax, from scratch", figures.VERMILION, "-"),
    "sparse": ("sparse-softmax, from scratch", figures.BLUE, "-"),
    "softmax_tuned": ("softmax, fine-tuned", figures.VERMILION, "--"),
    "sparse_tuned": ("sparse-softmax, fine-tuned", figures.BLUE, "--"),
}
LABELS = {
    "accuracy": "accuracy on the test part",
    "logit_range": "largest minus smallest logit",
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """Means, and bands over the seeds, against the steps of each arm's own training."""
    figure = figures.blank(columns=2, width=9.0)
    for axes, metric in zip(figure.axes, LABELS, strict=True):
        for arm, (label, colour, dashes) in STYLES.items():
            ours = [result for result in found if result.arm == arm]
            if not ours:
                continue
            names = [n for n in ours[0].metrics if n.startswith(f"{metric}@")]
            steps = [int(name.partition("@")[2]) for name in names]
            values = np.array([[r.metrics[name] for name in names] for r in ours])
            style = {"color": colour, "linestyle": dashes, "label": label}
            axes.plot(steps, values.mean(0), marker="o", markersize=4, **style)
            axes.fill_between(
                steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0
            )
        axes.set_xlabel("training steps")
        axes.set_ylabel(LABELS[metric])
        axes.set_ylim(bottom=0)
    figures.legend(figure, columns=2)
    return figures.save(figure, folder, "many_classes")
