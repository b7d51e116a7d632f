"""Text by name, cut into training, validation and test parts that share nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import grain
import numpy as np

from softmax_jax.data import tfds_source
from softmax_jax.data.codecs import Bytes, Words
from softmax_jax.data.sources import read_source
from softmax_jax.errors import UserError


@dataclass(frozen=True)
class TextConfig:
    """Which text, and as what tokens.

    Attributes:
      name: `kjv`, `shakespeare`, `stdlib`, `file:PATH`, or `tfds:NAME[/CONFIG]`, a
        prepared set of TensorFlow Datasets; or several of them.
      level: `bytes` (256 tokens) or `words` (the most frequent ones).
      validation_fraction, test_fraction: shares of the bytes, at the end of the text;
        not used where a TFDS set has that part itself.
      vocabulary: the most words kept at level `words`, `<unk>` included.
      weights: the shares of several names among the rows; by their sizes unless given.
      packed: documents lie side by side in a row and do not see one another. They are
        the examples of a TFDS set, read as they are needed, or else the lines of the
        text.
    """

    name: str | tuple[str, ...] = "kjv"
    level: str = "bytes"
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    vocabulary: int = 10_000
    weights: tuple[float, ...] = ()
    packed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """One or several."""
        return (self.name,) if isinstance(self.name, str) else self.name


@dataclass(frozen=True)
class Corpus:
    """Three parts of one text as 1-d token arrays, and the codec that made them.

    Of several texts each part is the one behind the other; `sources` has their
    training parts by themselves.
    """

    sources: tuple[np.ndarray, ...]
    validation: np.ndarray
    test: np.ndarray
    codec: Bytes | Words

    @property
    def train(self) -> np.ndarray:
        """The training part, of all texts."""
        one, *others = self.sources
        return np.concatenate(self.sources) if others else one

    @property
    def vocabulary(self) -> int:
        """The number of different tokens."""
        return self.codec.size


@dataclass(frozen=True)
class Documents:
    """Documents by number, to train on and to judge with."""

    train: Sequence[bytes] | grain.MapDataset
    validation: Sequence[bytes] | grain.MapDataset
    codec: Bytes | Words


def load(config: TextConfig) -> Corpus:
    """Reads a text and encodes its parts.

    The parts are contiguous (training, then validation, then test) and are cut at
    line ends before any window is, so no window sees two parts; the words of the
    vocabulary are those of the training part. For `kjv` the defaults put Genesis 1:1
    to Acts 22:1 in training, Acts 22:2 to Colossians 1:12 in validation and the rest,
    to Revelation 22:21, in test.
    """
    parts = [_parts(name, config) for name in config.names]
    if config.weights and len(config.weights) != len(parts):
        raise UserError(
            f"data.weights={config.weights} should have one share for each of the "
            f"{len(parts)} texts of data.name."
        )
    trains, validations, tests = zip(*parts, strict=True)
    codec = _codec(config, b"\n".join(trains))

    def joined(texts: Sequence[bytes]) -> np.ndarray:
        return np.concatenate([codec.encode(text) for text in texts])

    sources = tuple(map(codec.encode, trains))
    return Corpus(sources, joined(validations), joined(tests), codec)


def documents(config: TextConfig) -> Documents:
    """The documents of one text and the codec of its tokens.

    Those of a TFDS set with a validation part stay on disk until they are needed.
    """
    if len(config.names) > 1:
        raise UserError("data.packed=True takes one data.name, not several.")
    (name,) = config.names
    of_tfds = name.removeprefix("tfds:")
    if of_tfds != name and "validation" in tfds_source.prepared(of_tfds).info.splits:
        if config.level != "bytes":
            raise UserError("data.packed=True with TFDS takes data.level='bytes'.")
        train, validation = (
            tfds_source.texts(of_tfds, part) for part in ("train", "validation")
        )
        return Documents(train, validation, Bytes())
    train, validation, _ = _parts(name, config)
    codec = _codec(config, train)
    return Documents(train.splitlines(True), validation.splitlines(True), codec)


def _codec(config: TextConfig, train: bytes) -> Bytes | Words:
    if config.level == "bytes":
        return Bytes()
    if config.level == "words":
        return Words.from_text(train, config.vocabulary)
    raise UserError(f"data.level={config.level!r} is unknown; use 'bytes' or 'words'.")


def _parts(name: str, config: TextConfig) -> tuple[bytes, bytes, bytes]:
    """A TFDS set has parts of its own; what lacks is cut off its training part."""
    if not name.startswith("tfds:"):
        return split(read_source(name), config)
    own = tfds_source.joined(name.removeprefix("tfds:"))
    validation, test = own.get("validation"), own.get("test")
    lacking = replace(
        config,
        validation_fraction=config.validation_fraction if validation is None else 0.0,
        test_fraction=config.test_fraction if test is None else 0.0,
    )
    train, cut_validation, cut_test = split(own["train"], lacking)
    return (
        train,
        cut_validation if validation is None else validation,
        cut_test if test is None else test,
    )


def split(text: bytes, config: TextConfig) -> tuple[bytes, bytes, bytes]:
    """The three contiguous parts of `text`; joined again they are `text`."""
    held_out = config.validation_fraction + config.test_fraction
    if min(config.validation_fraction, config.test_fraction) < 0 or held_out >= 1:
        raise UserError(
            f"data.validation_fraction={config.validation_fraction} and "
            f"data.test_fraction={config.test_fraction} must not be negative "
            "and must add up to less than 1."
        )
    first = _line_end(text, round(len(text) * (1 - held_out)))
    second = _line_end(text, round(len(text) * (1 - config.test_fraction)))
    return text[:first], text[first:second], text[second:]


def _line_end(text: bytes, position: int) -> int:
    """The end of the line at `position`; `position` itself in the last line."""
    newline = text.find(b"\n", position)
    return position if newline < 0 else newline + 1
