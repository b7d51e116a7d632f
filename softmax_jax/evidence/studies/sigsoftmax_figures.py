"""The figures of heads: singular values of random ones, losses of trained ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softmax_jax.evidence import figures
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies import rank_law
from softmax_jax.evidence.studies.rank_law import RankLawConfig
from softmax_jax.training.config import from_mapping

STYLES = {
    "softmax": ("softmax", figures.VERMILION),
    "sigsoftmax": ("sigsoftmax", figures.BLUE),
    "mos": ("MoS", figures.GREEN),
    "moss": ("MoSS", figures.PURPLE),
    "tanh": ("softmax of tanh", figures.ORANGE),
}
FLOOR = 1e-18  # below this a singular value is rounding


def draw_singular_values(found: Sequence[Result], folder: Path) -> list[Path]:
    """Of the first seed, over the largest, for the narrowest and the widest heads.

    A line at the softmax bound, width + 1.
    """
    first = {result.arm: result for result in reversed(found)}
    configs = {
        arm: from_mapping(RankLawConfig, result.config) for arm, result in first.items()
    }
    some = next(iter(configs.values()))
    figure = figures.blank(columns=2, width=9.0)
    widths = (some.widths[0], some.widths[-1])
    for axes, width in zip(figure.axes, widths, strict=True):
        for arm, config in configs.items():
            label, colour = STYLES[arm]
            matrix, _, _ = rank_law.drawn(config, width, first[arm].seed)
            s = np.linalg.svd(matrix, compute_uv=False)
            values = np.maximum(s / s[0], FLOOR)
            axes.semilogy(
                np.arange(1, len(s) + 1), values, color=colour, label=label, lw=2
            )
        axes.axvline(width + 1, color="black", lw=0.8, ls=":")
        axes.set_xlabel(f"singular values of heads of width {width}")
        axes.set_ylabel("part of the largest")
    figures.legend(figure, columns=4)
    return figures.save(figure, folder, "singular_values")


def draw_losses(found: Sequence[Result], folder: Path) -> list[Path]:
    """Every seed's test loss less that of softmax, and what lies beyond the bound."""
    losses = {(r.arm, r.seed): r.metrics["test_loss"] for r in found}
    arms = [arm for arm in STYLES if any(name == arm for name, _ in losses)]
    figure = figures.blank(columns=2, width=9.0)
    left, right = figure.axes
    for place, arm in enumerate(arms):
        label, colour = STYLES[arm]
        ours = [r for r in found if r.arm == arm]
        gaps = [
            losses[arm, r.seed] - losses["softmax", r.seed]
            for r in ours
            if ("softmax", r.seed) in losses
        ]
        energies = [r.metrics["log10_tail_energy"] for r in ours]
        for axes, values in ((left, gaps), (right, energies)):
            axes.plot([place] * len(values), values, "o", color=colour, alpha=0.6)
    left.axhline(0, color="black", lw=0.8, ls=":")
    left.set_ylabel("test loss less that of softmax, nats")
    right.set_ylabel("log10 of the energy beyond softmax")
    for axes in figure.axes:
        names = [STYLES[arm][0] for arm in arms]
        axes.set_xticks(range(len(arms)), names, rotation=30)
    return figures.save(figure, folder, "narrow_head")
