"""Multi-label classification: scikit-learn's generator, and MULAN's Yeast genes."""

import csv
import gzip
import hashlib
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softmax_jax.errors import UserError

INSTALL = "pip install softmax-jax[multilabel]"
YEAST_SHA256 = "2969cb4bab877a27adcbe17871fa0b378a1e54b98816cd6106b542ee450a1c09"
FEATURES, ROWS = 64, (2000, 500, 1000)  # of what is generated
YEAST_ROWS = (1200, 300, 917)


class Rows(NamedTuple):
    """Arrays of examples; over training, features have mean 0 and variance 1."""

    features: Any  # float32 [rows, features]
    labels: Any  # bool [rows, classes], at least one per row


class Parts(NamedTuple):
    """What to train on, to tune a threshold on, and to judge on."""

    train: Rows
    validation: Rows
    test: Rows


@lru_cache(maxsize=64)
def load(name: str, seed: int) -> Parts:
    """The data set `name`: "yeast", or "classes/mean labels" such as "20/5".

    A generated set is drawn anew for every seed; the rows of Yeast are shuffled.
    """
    if name == "yeast":
        features, labels = yeast()
        sizes = YEAST_ROWS
        order = np.random.default_rng(seed).permutation(len(features))
        features, labels = features[order], labels[order]
    else:
        classes, _, mean_labels = name.partition("/")
        if not (classes.isdigit() and mean_labels.isdigit()):
            raise UserError(
                f"the multi-label set {name!r} is unknown; use yeast, or "
                "'classes/mean labels' such as '20/5'"
            )
        features, labels = generated(int(classes), int(mean_labels), seed)
        sizes = ROWS
    return _split(features, labels, sizes)


def generated(
    classes: int, mean_labels: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Word counts of texts, each on as many topics as a Poisson number says."""
    if find_spec("sklearn") is None:
        raise UserError(
            f"generated multi-label sets need scikit-learn, which is missing: {INSTALL}"
        )
    datasets = import_module("sklearn.datasets")
    return datasets.make_multilabel_classification(
        n_samples=sum(ROWS),
        n_features=FEATURES,
        n_classes=classes,
        n_labels=mean_labels,
        allow_unlabeled=False,
        random_state=seed,
    )


def yeast() -> tuple[np.ndarray, np.ndarray]:
    """2417 genes with 103 features and 14 functional classes, from the river package.

    The table is read from the package's folder; river itself is not imported.
    """
    spec = find_spec("river")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the Yeast set comes with river, which is missing: {INSTALL} "
            "(or pip install --no-deps river==0.26.1)"
        )
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "yeast.csv.gz"
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != YEAST_SHA256:
        raise UserError(
            f"{path} is not the tested Yeast table; use pip install river==0.26.1"
        )
    _, *rows = csv.reader(gzip.decompress(raw).decode().splitlines())
    table = np.array(rows, np.float64)
    return table[:, :103], table[:, 103:]


def _split(features: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...]) -> Parts:
    train = features[: sizes[0]]
    deviation = train.std(0)
    scaled = (features - train.mean(0)) / np.where(deviation > 0, deviation, 1)
    cuts = np.cumsum(sizes)[:2]
    parts = zip(
        np.split(scaled.astype(np.float32), cuts),
        np.split(labels.astype(bool), cuts),
        strict=True,
    )
    return Parts(*(Rows(x, y) for x, y in parts))
