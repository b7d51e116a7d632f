"""The two figures of Bernhard's paper: densities of dot products and of weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import gaussian_kde

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies.dot_product_scaling import (
    ScalingConfig,
    as_released,
    simulate,
)
from softmax_jax.training.config import from_mapping

# Figure 1 has keys of width 16, Figure 2 of width 256; each begins with the dot
# products themselves.
FIGURES = {16: ("one", "root_width"), 256: ("root_width", "sum")}
TITLES = {
    "one": "not scaled, softmax",
    "root_width": "divided by √width, softmax",
    "sum": "divided by Σ|k|, softmax",
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """One figure per width whose arms were all run, from the first seed's draws."""
    made = []
    for width, divisors in FIGURES.items():
        configs = {
            result.config["divisor"]: from_mapping(ScalingConfig, result.config)
            for result in found
            if result.config["width"] == width
        }
        if not configs.keys() >= set(divisors):
            continue
        figure = figures.blank(1 + len(divisors), width=9.6, height=3.2)
        drawn = [simulate(configs[name], found[0].seed) for name in divisors]
        _density(figure.axes[0], np.asarray(drawn[0][0]))
        figure.axes[0].set_title("dot products", fontsize=9)
        for axes, name, (_, weights) in zip(
            figure.axes[1:], divisors, drawn, strict=True
        ):
            _density(axes, np.asarray(weights))
            axes.set_title(TITLES[name], fontsize=9)
        figure.axes[0].set_ylabel("density")
        figures.legend(figure)
        made += figures.save(figure, folder, f"densities_{width}")
    return made


def _density(axes: Axes, values: np.ndarray) -> None:
    """Kernel densities of what the author's code plots and of what it says."""
    pooled = as_released(values)
    x = np.linspace(values.min(), values.max(), 300)
    for label, sample, colour, dashes in (
        ("all keys of the first queries, as released", pooled, figures.BLUE, "-"),
        ("one key, all queries", values[:, 0], figures.VERMILION, "--"),
    ):
        density = gaussian_kde(sample)(x)
        axes.plot(x, density, dashes, color=colour, linewidth=1.5, label=label)
    axes.set_yticks([])
    axes.set_ylim(0)
