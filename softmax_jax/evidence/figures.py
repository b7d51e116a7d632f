"""What the figures of all studies share: colours, empty axes, saving."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by every kind of colour vision.
VERMILION, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
PURPLE, SKY, ORANGE = "#CC79A7", "#56B4E9", "#E69F00"
PALETTE = (VERMILION, BLUE, GREEN, PURPLE, SKY, ORANGE)


def blank(columns: int = 1, width: float = 6.4, height: float = 3.8) -> Figure:
    """A figure with so many empty axes side by side, in `figure.axes`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    for axes in figure.subplots(1, columns, squeeze=False)[0]:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def legend(figure: Figure, columns: int = 3) -> None:
    """The legend above the figure, of its first axes."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        handlelength=3,  # shows dashes
        columnspacing=1,
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `name`.png and `name`.svg and says where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in made:
        figure.savefig(path, dpi=200)
    return made
