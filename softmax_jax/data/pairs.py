"""Parallel text by name: sentences in one language with their translations."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import grain

from softmax_jax.data import tfds_source
from softmax_jax.data.catalogues import django
from softmax_jax.data.manpages import manpages
from softmax_jax.errors import UserError

Pair = tuple[str, str]
Pairs = Sequence[Pair] | grain.MapDataset  # the latter reads from disk by number
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PairsConfig:
    """Which parallel text, from which language to which.

    Attributes:
      name: `django` (messages of the web framework, 99 languages, up to 863 pairs),
        `manpages[:FOLDER]` (Debian's manual pages, some 24,000 paragraphs in French;
        /usr/share/man unless told), `tsv:PATH` (source and target in the first two
        columns), `folder:PATH` (files `STEM.SOURCE` and `STEM.TARGET`, line by line)
        or `tfds:NAME[/CONFIG]`.
      source, target: the languages, as the set spells them; not used for `tsv`.
      validation_fraction, test_fraction: shares of the pairs; not used where the set
        has parts of its own (TFDS; a folder with the stems train, validation and test).
      vocabulary: pieces of words, of both languages together, that a model is given.
    """

    name: str = "django"
    source: str = "en"
    target: str = "fr"
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    vocabulary: int = 8000


class ParallelText(NamedTuple):
    """(source, target) pairs to train on, to choose with, and to judge on."""

    train: Pairs
    validation: Pairs
    test: Pairs


def load(config: PairsConfig) -> ParallelText:
    """Reads the pairs of a set and parts them.

    Where the set has no parts, a checksum of the source sentence decides: the parts are
    the same on every machine, stay when the set grows, and share no source sentence.
    """
    kind, _, path = config.name.partition(":")
    if kind not in KINDS or not (path or kind in ("django", "manpages")):
        names = ["django", "manpages", "tsv:PATH", "folder:PATH", "tfds:NAME"]
        near = get_close_matches(config.name, names) or names
        known = " or ".join(near)
        raise UserError(f"data.name={config.name!r} is unknown; use {known}.")
    return KINDS[kind](path, config)


def cut(pairs: Iterable[Pair], config: PairsConfig) -> ParallelText:
    """`pairs` in three parts by the checksums of their sources; repetitions go."""
    validation, test = config.validation_fraction, config.test_fraction
    if min(validation, test) < 0 or validation + test >= 1:
        raise UserError(
            f"data.validation_fraction={validation} and data.test_fraction={test} must "
            "not be negative and must add up to less than 1."
        )
    parts: tuple[list[Pair], ...] = ([], [], [])
    for pair in dict.fromkeys(pairs):
        place = int(hashlib.sha256(pair[0].encode()).hexdigest()[:12], 16) / 16**12
        parts[2 if place < test else 1 if place < test + validation else 0].append(pair)
    return ParallelText(*parts)


def _django(_: str, config: PairsConfig) -> ParallelText:
    return cut(django(config.source, config.target), config)


def _manpages(path: str, config: PairsConfig) -> ParallelText:
    found = manpages(path or "/usr/share/man", config.source, config.target)
    return cut(found, config)


def _tsv(path: str, config: PairsConfig) -> ParallelText:
    rows = [line.split("\t") for line in _lines(Path(path))]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise UserError(f"{path}, line {number}: no tab parts two texts.")
    return cut(((row[0], row[1]) for row in rows), config)


def _folder(path: str, config: PairsConfig) -> ParallelText:
    stems = sorted(x.stem for x in Path(path).glob(f"*.{config.source}"))
    found = {stem: _aligned(Path(path, stem), config) for stem in stems}
    if not found:
        raise UserError(f"data.name='folder:{path}' holds no file *.{config.source}.")
    if set(PARTS) <= set(found):
        return ParallelText(*(found[part] for part in PARTS))
    return cut((pair for pairs in found.values() for pair in pairs), config)


def _aligned(stem: Path, config: PairsConfig) -> list[Pair]:
    sources, targets = (
        _lines(stem.with_name(f"{stem.name}.{language}"))
        for language in (config.source, config.target)
    )
    if len(sources) != len(targets):
        raise UserError(
            f"{stem}.{config.source} has {len(sources)} lines and "
            f"{stem}.{config.target} {len(targets)}; they should be aligned."
        )
    return list(zip(sources, targets, strict=True))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"There is no file {str(path)!r}.")
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def _tfds(name: str, config: PairsConfig) -> ParallelText:
    own = tfds_source.prepared(name).info.splits
    languages = (config.source, config.target)
    return ParallelText(
        *(tfds_source.pairs(name, x, *languages) if x in own else () for x in PARTS)
    )


KINDS: dict[str, Callable[[str, PairsConfig], ParallelText]] = {
    "django": _django,
    "manpages": _manpages,
    "tsv": _tsv,
    "folder": _folder,
    "tfds": _tfds,
}
