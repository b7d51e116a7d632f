"""The plane of sparsity and multi-modality, one panel per kind of scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies.frontier import FrontierConfig, points, softmax_point
from softmax_jax.training.config import from_mapping

TITLES = {"figure": "scores 10, 8, −1", "normal": "normal scores"}
STYLES = {
    "multimax_first": ("MultiMax, first order", figures.BLUE),
    "multimax_second": ("MultiMax, second order", figures.GREEN),
    "entmax": ("entmax", figures.VERMILION),
}
TEMPERATURES = np.geomspace(0.05, 50, 200)


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """The curve of softmax, a star at temperature 1, and the other normalizers."""
    configs = {
        result.arm: from_mapping(FrontierConfig, result.config) for result in found
    }
    kinds = list(dict.fromkeys(config.scores for config in configs.values()))
    figure = figures.blank(len(kinds), width=4.2 * len(kinds), height=3.8)
    for axes, kind in zip(figure.axes, kinds, strict=True):
        ours = {arm: c for arm, c in configs.items() if c.scores == kind}
        first = next(iter(ours.values()))
        curve = np.array([softmax_point(first, t) for t in TEMPERATURES])
        axes.plot(*curve.T, color="0.5", label="softmax, all temperatures")
        axes.plot(*softmax_point(first, 1.0), "*", color="0.5", markersize=10)
        for name, (label, colour) in STYLES.items():
            if f"{kind}_{name}" in ours:
                places = np.array(points(ours[f"{kind}_{name}"])).T
                axes.plot(*places, "o-", color=colour, label=label)
        axes.set_title(TITLES[kind], fontsize=9)
        axes.set_xlabel("sparsity S")
        axes.set_ylabel("multi-modality M")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
    figures.legend(figure, columns=4)
    return figures.save(figure, folder, "frontier")
