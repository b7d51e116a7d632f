"""Documents side by side in rows of one length, told apart by segment numbers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Array, Bool, Int

from softmax_jax.data.batches import Share, taken, whole
from softmax_jax.errors import UserError


class PackedBatch(NamedTuple):
    """Rows of documents; segment 0 is padding, and the others count from 1 in a row."""

    tokens: Int[np.ndarray, "rows length"]
    segment_ids: Int[np.ndarray, "rows length"]
    positions: Int[np.ndarray, "rows length"]  # from the start of the piece


def packed_batches(
    documents: Sequence[str | bytes] | grain.MapDataset,
    encode: Callable[[str | bytes], np.ndarray],
    sequence_length: int,
    batch_size: int,
    seed: int,
    share: Share = whole,
) -> grain.DatasetIterator:
    """An endless iterator of `PackedBatch` with `sequence_length + 1` tokens a row.

    Documents come in an order of their own in every epoch and are encoded on the way,
    so a set larger than memory can be read by number. Each piece goes to the row that
    it fills best; a batch ends at the first piece that fits nowhere. `get_state()` is
    JSON-able, and `set_state` works on a fresh iterator. A share is taken of whole
    batches.
    """
    if sequence_length < 1 or not len(documents):
        raise UserError(
            "packing needs at least one document and a sequence_length of at least 1, "
            f"got {len(documents)} documents and {sequence_length}"
        )
    if not isinstance(documents, grain.MapDataset):
        documents = grain.MapDataset.source(documents)
    order = documents.seed(seed).shuffle().repeat()
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=1)
    pieces = grain.experimental.FlatMapIterDataset(
        order.to_iter_dataset(options), _Pieces(encode, sequence_length)
    )
    rows = grain.experimental.BestFitPackIterDataset(
        pieces,
        length_struct={"tokens": sequence_length + 1},
        num_packing_bins=batch_size,
        shuffle_bins=False,
    )
    batches = rows.batch(batch_size).map(_batch)
    return iter(batches.map(partial(taken, share=share)))


def predicted(
    segment_ids: Int[np.ndarray | Array, "rows length"],
) -> Bool[np.ndarray | Array, "rows length-1"]:
    """Where the next token continues the same document: what a loss may count."""
    return (segment_ids[:, 1:] == segment_ids[:, :-1]) & (segment_ids[:, 1:] > 0)


def pieces(tokens: np.ndarray, length: int) -> list[np.ndarray]:
    """`tokens` in runs of at most length + 1, each beginning with its forerunner's end.

    So every token but the first is predicted exactly once; one token alone is none.
    """
    starts = range(0, len(tokens) - 1, length)
    return [tokens[start : start + length + 1] for start in starts]


class _Pieces(grain.experimental.FlatMapTransform):
    """From a document to the pieces that fit into a row."""

    def __init__(self, encode: Callable[[str | bytes], np.ndarray], length: int):
        self.encode, self.length = encode, length

    def flat_map(self, element: str | bytes) -> list[dict[str, np.ndarray]]:
        tokens = self.encode(element).astype(np.int32)
        return [{"tokens": piece} for piece in pieces(tokens, self.length)]


def _batch(rows: dict[str, np.ndarray]) -> PackedBatch:
    return PackedBatch(
        rows["tokens"], rows["tokens_segment_ids"], rows["tokens_positions"]
    )
