"""The response curve: what one score weighs among others, as it moves past them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import softmax_jax as sj
from softmax_jax.evidence import figures

LENGTHS = {8: figures.VERMILION, 64: figures.BLUE}
REACH, OTHERS = 6.0, 2.0
POINTS = 481


def curve(normalizer: sj.Normalizer, length: int) -> tuple[np.ndarray, ...]:
    """z, its weight and the derivative of that, among length - 1 other scores.

    The others stand still, evenly spread over [-2, 2].
    """
    with jax.enable_x64(True):
        others = jnp.linspace(-OTHERS, OTHERS, length - 1)

        def weight(z):
            return normalizer(jnp.concatenate([z[None], others]))[0]

        z = jnp.linspace(-REACH, REACH, POINTS)
        weights, slopes = jax.jit(jax.vmap(jax.value_and_grad(weight)))(z)
        return np.asarray(z), np.asarray(weights), np.asarray(slopes)


def draw(normalizer: sj.Normalizer, folder: Path) -> Path:
    """Draws weight and derivative beside those of softmax, and says where."""
    figure = figures.blank(columns=2, width=8.4, height=3.6)
    name = type(normalizer).__name__
    for length, colour in LENGTHS.items():
        for member, label, dashes in (
            (sj.parse("softmax"), "softmax", "--"),
            (normalizer, name, "-"),
        ):
            z, *curves = curve(member, length)
            for axes, y in zip(figure.axes, curves, strict=True):
                axes.plot(z, y, dashes, color=colour, label=f"{label}, row of {length}")
    for axes, what in zip(figure.axes, ("weight of z", "its derivative"), strict=True):
        axes.axhline(0, color="0.8", linewidth=1, zorder=0)
        axes.set_xlabel("score z; the others spread evenly over [-2, 2]")
        axes.set_ylabel(what)
    figures.legend(figure, columns=4)
    _, path = figures.save(figure, folder, name)
    return path
