"""Text by name, cut into training, validation and test parts that share nothing."""

from dataclasses import dataclass, replace

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
        prepared set of TensorFlow Datasets.
      level: `bytes` (256 tokens) or `words` (the most frequent ones).
      validation_fraction, test_fraction: shares of the bytes, at the end of the text;
        not used where a TFDS set has that part itself.
      vocabulary: the most words kept at level `words`, `<unk>` included.
    """

    name: str = "kjv"
    level: str = "bytes"
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    vocabulary: int = 10_000


@dataclass(frozen=True)
class Corpus:
    """Three parts of one text as 1-d token arrays, and the codec that made them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    codec: Bytes | Words

    @property
    def vocabulary(self) -> int:
        """The number of different tokens."""
        return self.codec.size


def load(config: TextConfig) -> Corpus:
    """Reads a text and encodes its parts.

    The parts are contiguous (training, then validation, then test) and are cut at
    line ends before any window is, so no window sees two parts; the words of the
    vocabulary are those of the training part. For `kjv` the defaults put Genesis 1:1
    to Acts 22:1 in training, Acts 22:2 to Colossians 1:12 in validation and the rest,
    to Revelation 22:21, in test.
    """
    parts = _parts(config)
    if config.level == "bytes":
        codec: Bytes | Words = Bytes()
    elif config.level == "words":
        codec = Words.from_text(parts[0], config.vocabulary)
    else:
        raise UserError(
            f"data.level={config.level!r} is unknown; use 'bytes' or 'words'."
        )
    train, validation, test = map(codec.encode, parts)
    return Corpus(train, validation, test, codec)


def _parts(config: TextConfig) -> tuple[bytes, bytes, bytes]:
    """A TFDS set has parts of its own; what lacks is cut off its training part."""
    if not config.name.startswith("tfds:"):
        return split(read_source(config.name), config)
    own = tfds_source.joined(config.name.removeprefix("tfds:"))
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
