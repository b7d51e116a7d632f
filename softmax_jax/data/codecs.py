"""Between text and arrays of tokens."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

UNKNOWN = "<unk>"
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]|\n")


@dataclass(frozen=True)
class Bytes:
    """Every byte is a token."""

    size: int = 256

    def encode(self, text: str | bytes) -> np.ndarray:
        """The bytes of `text` (UTF-8), uint8."""
        raw = text.encode() if isinstance(text, str) else text
        return np.frombuffer(raw, np.uint8)

    def decode(self, tokens: np.ndarray) -> str:
        """The text of `tokens`; what is not UTF-8 becomes the character U+FFFD."""
        return np.asarray(tokens, np.uint8).tobytes().decode(errors="replace")


@dataclass(frozen=True)
class Words:
    """Words, punctuation marks and line ends are tokens; unknown words are token 0."""

    words: tuple[str, ...]

    @classmethod
    def from_text(cls, text: str | bytes, size: int) -> "Words":
        """The `size - 1` most frequent words of `text`; equal counts in word order."""
        counts = Counter(_words(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((UNKNOWN, *ranked[: size - 1]))

    @property
    def size(self) -> int:
        """The number of words, `<unk>` included."""
        return len(self.words)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str | bytes) -> np.ndarray:
        """The word numbers of `text`, int32."""
        return np.array([self._index.get(w, 0) for w in _words(text)], np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        """The words of `tokens` with single spaces between them."""
        return " ".join(self.words[i] for i in np.asarray(tokens))


def _words(text: str | bytes) -> list[str]:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return _WORD.findall(text)
