"""Pieces of words, the same for both languages of a translation."""

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from softmax_jax.errors import UserError

UNKNOWN, END = 0, 1
MOST_LINES = 1_000_000  # of which the pieces are learned


class Subwords:
    """A SentencePiece model: byte pair encoding of text as it stands.

    Token 0 is what cannot be spelled, token 1 the end of a sentence.
    """

    def __init__(self, model: bytes):
        self.model = model
        self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)

    @classmethod
    def learned(cls, lines: Iterable[str], size: int) -> "Subwords":
        """`size` pieces learned of the lines; the same lines give the same pieces."""
        written = BytesIO()
        trainer = _sentencepiece().SentencePieceTrainer
        try:
            trainer.train(
                sentence_iterator=iter(lines),
                model_writer=written,
                model_type="bpe",
                vocab_size=size,
                character_coverage=1.0,
                input_sentence_size=MOST_LINES,
                shuffle_input_sentence=False,
                num_threads=1,
                unk_id=UNKNOWN,
                eos_id=END,
                bos_id=-1,
                pad_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(
                f"data.vocabulary={size} does not fit these sentences: {error}"
            ) from None
        return cls(written.getvalue())

    @classmethod
    def kept(cls, path: Path, lines: Iterable[str], size: int) -> "Subwords":
        """Those of the file `path`, which is written if it is not there."""
        if path.exists():
            return cls(path.read_bytes())
        learned = cls.learned(lines, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may learn at once; none reads what another has half written.
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        unfinished.write_bytes(learned.model)
        unfinished.replace(path)
        return learned

    @property
    def size(self) -> int:
        """The number of pieces."""
        return self._processor.get_piece_size()

    def encode(self, text: str) -> np.ndarray:
        """The pieces of a sentence, int32, without its end."""
        return np.array(self._processor.encode(text), np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The sentence of the pieces up to its end."""
        tokens = [int(token) for token in tokens]
        stop = tokens.index(END) if END in tokens else len(tokens)
        return self._processor.decode(tokens[:stop])


def _sentencepiece() -> Any:
    if find_spec("sentencepiece") is None:
        raise UserError(
            "Translation needs sentencepiece, which is missing: "
            "pip install softmax-jax[translation]"
        )
    return import_module("sentencepiece")
