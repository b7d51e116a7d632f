"""Persons before visible and infrared cameras: SYSU-MM01 and RegDB, from their folders.

Nothing is downloaded; both sets are given to researchers on request.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from softmax_jax.errors import UserError

SYSU_CAMERAS = {"visible": (1, 2, 4, 5), "indoor": (1, 2), "infrared": (3, 6)}
# Cameras 2 and 3 stand in the same room: (camera of the query, of the gallery).
SYSU_SKIPPED = ((3, 2),)
REGDB_MODALITIES = ("visible", "thermal")  # cameras 1 and 2


class Listing(NamedTuple):
    """Image files, and whom, by which camera and in which modality they show."""

    files: tuple[Path, ...]
    identities: Int[np.ndarray, " n"]
    cameras: Int[np.ndarray, " n"]
    modalities: Int[np.ndarray, " n"]  # 0 is visible, 1 is infrared or thermal


class ReidParts(NamedTuple):
    """What to train on, and queries for persons who are not in it.

    Identities of the training part count from 0 and are all seen in both modalities.
    """

    train: Listing
    query: Listing
    gallery: Listing
    skipped: tuple[tuple[int, int], ...]
    distinct: bool  # whether the CMC counts identities, not images


def sysu(
    path: str, *, trial: int = 0, indoor: bool = False, shots: int = 1
) -> ReidParts:
    """SYSU-MM01: `cam1` to `cam6`, a folder per person in each, and the lists in `exp`.

    Trains on the persons for training and validation. All infrared images of the others
    are queries; the gallery has `shots` images, 1 or 10, per person and visible camera,
    drawn for each `trial` anew (averages over 10 trials are customary), and `indoor`
    only those of cameras 1 and 2. A query of camera 3 skips the gallery of camera 2.
    """
    root = Path(path)
    train = [x for part in ("train", "val") for x in _sysu_people(root, part)]
    test = _sysu_people(root, "test")
    visible = SYSU_CAMERAS["indoor" if indoor else "visible"]
    rng = np.random.default_rng(trial)
    return ReidParts(
        _numbered(_sysu_images(root, train, range(1, 7))),
        _sysu_images(root, test, SYSU_CAMERAS["infrared"]),
        _sysu_images(root, test, visible, shots, rng),
        SYSU_SKIPPED,
        distinct=True,
    )


def _sysu_people(root: Path, part: str) -> list[int]:
    words = _text(root / "exp" / f"{part}_id.txt").replace(",", " ").split()
    return [int(word) for word in words]


def _sysu_images(
    root: Path,
    people: Sequence[int],
    cameras: Iterable[int],
    shots: int | None = None,
    rng: np.random.Generator | None = None,
) -> Listing:
    """All images of the people before the cameras, or so many of each."""
    rows = []
    for camera in cameras:
        for person in people:
            files = sorted((root / f"cam{camera}" / f"{person:04d}").glob("*.jpg"))
            if rng is not None and shots is not None:
                chosen = np.sort(rng.permutation(len(files))[:shots])
                files = [files[i] for i in chosen]
            rows += [(file, person, camera) for file in files]
    return _listing(root, rows, SYSU_CAMERAS["infrared"])


def regdb(path: str, *, trial: int = 1, query: str = "thermal") -> ReidParts:
    """RegDB: `idx/train_visible_1.txt` and its like, lines of a file and a number.

    `trial`, from 1 to 10, is one of the splits that come with the set; `query` names
    the modality that is looked for in the other one.
    """
    if query not in REGDB_MODALITIES:
        raise UserError(f"query={query!r} is unknown; use visible or thermal")
    root, (gallery,) = Path(path), set(REGDB_MODALITIES) - {query}
    train = [
        row for x in REGDB_MODALITIES for row in _regdb_rows(root, "train", x, trial)
    ]
    asked, looked_at = (
        _listing(root, _regdb_rows(root, "test", x, trial), (2,))
        for x in (query, gallery)
    )
    known = _numbered(_listing(root, train, (2,)))
    return ReidParts(known, asked, looked_at, (), distinct=False)


def _regdb_rows(
    root: Path, part: str, modality: str, trial: int
) -> list[tuple[Path, int, int]]:
    lines = _text(root / "idx" / f"{part}_{modality}_{trial}.txt").splitlines()
    pairs = (line.rsplit(maxsplit=1) for line in lines if line.strip())
    camera = 1 + REGDB_MODALITIES.index(modality)
    return [(root / name, int(number), camera) for name, number in pairs]


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(
            f"{path} is missing: SYSU-MM01 has exp/train_id.txt, val_id.txt and "
            "test_id.txt, RegDB has idx/train_visible_1.txt and its like"
        )
    return path.read_text()


def _listing(
    root: Path, rows: Sequence[tuple[Path, int, int]], infrared: Sequence[int]
) -> Listing:
    if not rows:
        raise UserError(f"{root} has none of the images that its lists name")
    files, identities, cameras = zip(*rows, strict=True)
    numbers = np.array(cameras, np.int32)
    modalities = np.isin(numbers, infrared).astype(np.int32)
    return Listing(files, np.array(identities, np.int32), numbers, modalities)


def _numbered(found: Listing) -> Listing:
    """Those who are seen in both modalities, counted from 0."""
    both = [
        set(found.identities[found.modalities == modality].tolist())
        for modality in (0, 1)
    ]
    people = sorted(both[0] & both[1])
    if not people:
        raise UserError("no person of the training part is seen in both modalities")
    rows = np.flatnonzero(np.isin(found.identities, people))
    return Listing(
        tuple(found.files[row] for row in rows),
        np.searchsorted(people, found.identities[rows]).astype(np.int32),
        found.cameras[rows],
        found.modalities[rows],
    )


def counted(
    query_cameras: Int[np.ndarray, " q"],
    gallery_cameras: Int[np.ndarray, " g"],
    skipped: Sequence[tuple[int, int]],
) -> Bool[np.ndarray, "q g"]:
    """Which entry of the gallery counts for which query: all but the skipped pairs."""
    found = np.ones((len(query_cameras), len(gallery_cameras)), bool)
    for query, gallery in skipped:
        found &= ~np.outer(query_cameras == query, gallery_cameras == gallery)
    return found


def pixels(
    listing: Listing, height: int, width: int
) -> Float[np.ndarray, "n height width 3"]:
    """The images, scaled, in colour, from 0 to 1."""
    pillow = import_module("PIL.Image")
    found = np.empty((len(listing.files), height, width, 3), np.float32)
    for row, file in zip(found, listing.files, strict=True):
        try:
            with pillow.open(file) as image:
                scaled = image.convert("RGB").resize((width, height))
        except OSError as error:
            raise UserError(f"{file} is not an image that can be read.") from error
        row[:] = np.asarray(scaled, np.float32) / 255
    return found
