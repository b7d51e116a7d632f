"""What differs from one generation of TPUs to the next: sizes of tiles, and its units.

    python -m benchmarks.tpu_static --tune

compiles forward and backward kernels with tiles of several sizes for every generation
and width of heads; `TILES` holds those of the fewest bundles per score, `OWN` those of
forward kernels that other sizes suit, and `LINEAR` of backward kernels.
"""

from typing import NamedTuple

from softmax_jax.attention.kernels.tiles import linear
from softmax_jax.normalizers.base import Elementwise, Normalizer, Threshold
from softmax_jax.normalizers.softpick import Softpick
from softmax_jax.target import device_kind

GENERATIONS = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}


class Tiles(NamedTuple):
    """Queries and keys per tile, of the forward and of the backward kernel."""

    forward: tuple[int, int]
    backward: tuple[int, int]


# Where a generation is not known, and in float32, whose products take more memory.
PLAIN = Tiles((512, 512), (512, 512))
TILES: dict[tuple[str, int], Tiles] = {
    ("v5e", 64): Tiles((512, 512), (512, 1024)),
    ("v5e", 128): Tiles((512, 512), (512, 1024)),
    ("v5e", 256): Tiles((1024, 1024), (1024, 1024)),
    ("v5p", 64): Tiles((512, 512), (1024, 1024)),
    ("v5p", 128): Tiles((512, 512), (512, 512)),
    ("v5p", 256): Tiles((1024, 1024), (1024, 1024)),
    ("v6e", 64): Tiles((1024, 2048), (1024, 1024)),
    ("v6e", 128): Tiles((1024, 2048), (1024, 1024)),
    ("v6e", 256): Tiles((1024, 1024), (1024, 1024)),
    ("tpu7x", 64): Tiles((1024, 1024), (1024, 1024)),
    ("tpu7x", 128): Tiles((1024, 1024), (1024, 1024)),
    ("tpu7x", 256): Tiles((1024, 1024), (1024, 1024)),
}
# In heads of up to 128.
OWN: dict[tuple[str, type[Normalizer]], tuple[int, int]] = {
    ("v5e", Threshold): (512, 1024),
    ("v5e", Elementwise): (1024, 2048),
    ("v5p", Threshold): (512, 1024),
    ("v6e", Softpick): (1024, 1024),
}
# Of the backward kernel, where log weights are linear in the score: what other formulas
# hold of a tile of this size is more than there is memory.
LINEAR: dict[tuple[str, int], tuple[int, int]] = {
    ("v5e", 64): (1024, 2048),
    ("v5e", 128): (1024, 2048),
}


def generation() -> str | None:
    """That of the chips a kernel is traced for; None where it is not known."""
    return GENERATIONS.get(device_kind())


def tiles(
    chip: str | None, width: int, normalizer: Normalizer | None = None, *, exact: bool
) -> Tiles:
    """The sizes for heads of this width, or of the next that was measured."""
    if exact or chip is None:
        return PLAIN
    key = chip, min(x for x in (64, 128, 256) if x >= width)
    known = TILES.get(key, PLAIN)
    if normalizer is not None and key in LINEAR and linear(normalizer) is not None:
        known = known._replace(backward=LINEAR[key])
    for (its_chip, kind), forward in OWN.items():
        if width <= 128 and its_chip == chip and isinstance(normalizer, kind):
            known = known._replace(forward=forward)
    return known


def divided(length: int, most: int) -> int:
    """A multiple of 128 of which few cover the length: parts of about the same size."""
    parts = -(-length // most)
    return -(-length // (128 * parts)) * 128


def roomy(chip: str | None, width: int, *, exact: bool) -> bool:
    """Whether sums of weights are free, as columns of the matrix unit, 256 wide.

    Values leave these unused; the vector units compute with bfloat16, two at a time.
    """
    return chip in ("v6e", "tpu7x") and width <= 128 and not exact
