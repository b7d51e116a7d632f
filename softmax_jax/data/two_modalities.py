"""Identities that are seen in two modalities, and looked for across them."""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from softmax_jax.data import reid_folder
from softmax_jax.data.glyphs import FACES, Glyphs, glyphs
from softmax_jax.data.reid_folder import Listing, ReidParts
from softmax_jax.errors import UserError

CODE, FEATURES = 16, 40
GLYPH_SIZE = 16
PERSON_SIZE = (24, 12)
SERIFS = tuple(i for i, face in enumerate(FACES) if "Serif" in face or "STIX" in face)


class Sightings(NamedTuple):
    """What was seen, of whom, in which modality, 0 or 1, and by which camera."""

    features: Float[np.ndarray | Array, "n features"]
    identities: Int[np.ndarray | Array, " n"]
    modalities: Int[np.ndarray | Array, " n"]
    cameras: Int[np.ndarray | Array, " n"]


class Parts(NamedTuple):
    """Sightings to train on; queries in modality 1 for others, seen in modality 0."""

    train: Sightings
    query: Sightings
    gallery: Sightings
    skipped: tuple[tuple[int, int], ...] = ()  # as in `ReidParts`
    distinct: bool = False


def load(name: str, seed: int) -> Parts:
    """`synthetic`, `glyphs`, `sysu:PATH` or `regdb:PATH`; seeds draw and split anew.

    Of the folders the seed is the trial, and images are scaled to 24 x 12 pixels.
    """
    kind, _, path = name.partition(":")
    rng = np.random.default_rng(seed)
    if name == "synthetic":
        return synthetic(rng)
    if name == "glyphs":
        return letters(rng)
    if kind == "sysu" and path:
        return persons(reid_folder.sysu(path, trial=seed))
    if kind == "regdb" and path:
        return persons(reid_folder.regdb(path, trial=1 + seed % 10))
    raise UserError(
        f"data={name!r} is unknown; use synthetic, glyphs, sysu:PATH or regdb:PATH"
    )


def synthetic(
    rng: np.random.Generator,
    *,
    identities: int = 40,
    unseen: int = 40,
    each: int = 10,
    noise: float = 0.3,
) -> Parts:
    """tanh(A_m (code + noise)) + b_m: 16 numbers of an identity, 40 that are seen.

    `each` sightings of every identity in either modality m; A_m and b_m are Gaussian,
    and so is the noise, of deviation `noise`, that of the code being 1.
    """
    total = identities + unseen
    maps = rng.normal(size=(2, CODE, FEATURES)) / CODE**0.5
    offsets = rng.normal(size=(2, 1, FEATURES))
    codes = rng.normal(size=(total, CODE))
    modality, identity = (
        x.ravel().astype(np.int32) for x in np.indices((2, total, each))[:2]
    )
    seen = codes[identity] + noise * rng.normal(size=(len(identity), CODE))
    features = np.concatenate(
        [np.tanh(seen[modality == m] @ maps[m]) + offsets[m] for m in (0, 1)]
    ).astype(np.float32)
    return _cut(Sightings(features, identity, modality, modality), identities)


def letters(
    rng: np.random.Generator, *, identities: int = 100, unseen: int = 100
) -> Parts:
    """Letters without serifs, modality 0, and with them, 1; a face is a camera.

    Of the Latin, Greek and Cyrillic letters that all 16 faces have, so many at random.
    Pixels have mean 0 and variance 1 over the training part.
    """
    drawn = _drawn()
    everywhere = np.bincount(drawn.letters) == len(FACES)
    people = rng.permutation(np.flatnonzero(everywhere))[: identities + unseen]
    if len(people) < identities + unseen:
        raise UserError(f"there are only {len(people)} letters in all faces")
    number = np.full(len(drawn.alphabet), -1)
    number[people] = np.arange(len(people))
    rows = np.flatnonzero(number[drawn.letters] >= 0)
    return _cut(
        Sightings(
            drawn.images[rows].reshape(len(rows), -1),
            number[drawn.letters[rows]].astype(np.int32),
            np.isin(drawn.faces[rows], SERIFS).astype(np.int32),
            drawn.faces[rows],
        ),
        identities,
    )


@cache
def _drawn() -> Glyphs:
    return glyphs(GLYPH_SIZE)


def persons(parts: ReidParts) -> Parts:
    """The images of a folder as rows of pixels."""

    def seen(listing: Listing) -> Sightings:
        images = reid_folder.pixels(listing, *PERSON_SIZE)
        _, identities, cameras, modalities = listing
        features = images.reshape(len(images), -1)
        return Sightings(features, identities, modalities, cameras)

    train, query, gallery = map(seen, parts[:3])
    return _scaled(Parts(train, query, gallery, parts.skipped, parts.distinct))


def _cut(seen: Sightings, identities: int) -> Parts:
    """The first identities to train on, the others to look for."""
    known = seen.identities < identities
    query, gallery = (~known & (seen.modalities == m) for m in (1, 0))
    train, asked, looked_at = (
        Sightings(*(x[part] for x in seen)) for part in (known, query, gallery)
    )
    return _scaled(Parts(train, asked, looked_at))


def _scaled(parts: Parts) -> Parts:
    """Features with mean 0 and variance 1 over all of the training part."""
    mean, deviation = parts.train.features.mean(), parts.train.features.std()

    def scaled(seen: Sightings) -> Sightings:
        return seen._replace(features=(seen.features - mean) / deviation)

    return parts._replace(
        train=scaled(parts.train),
        query=scaled(parts.query),
        gallery=scaled(parts.gallery),
    )
