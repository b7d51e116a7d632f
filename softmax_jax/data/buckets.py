"""Sentence pairs in batches of about equal numbers of tokens and of few shapes."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Bool, Int

from softmax_jax.data.batches import Share, taken, whole
from softmax_jax.errors import UserError

Encoded = tuple[np.ndarray, np.ndarray]


class PairBatch(NamedTuple):
    """Padded pairs. Step t sees `inputs` up to t and says `targets[t]`.

    `inputs` begins and `targets` ends with the mark for the end of a sentence.
    """

    source: Int[np.ndarray, "rows length"]
    source_visible: Bool[np.ndarray, "rows length"]
    inputs: Int[np.ndarray, "rows length"]
    targets: Int[np.ndarray, "rows length"]
    target_visible: Bool[np.ndarray, "rows length"]


def bucketed_batches(
    pairs: Sequence[Encoded],
    lengths: Sequence[int],
    tokens: int,
    end: int,
    seed: int,
    *,
    multiple_of: int = 1,
    share: Share = whole,
) -> grain.DatasetIterator:
    """An endless iterator of `PairBatch` of [rows, length], one shape per bucket.

    A pair is in the first of the ascending `lengths` that holds its source, and its
    target with `end`. A batch has tokens // length rows, down to a `multiple_of` (the
    devices that share it), or all pairs of a bucket that has fewer. An epoch shows
    every pair once, but for those too few for a last batch: each epoch others.
    `get_state()` is JSON-able, and `set_state` works on a fresh iterator. A share is
    taken of whole batches.
    """
    datasets = []
    for number, (length, members) in enumerate(_buckets(pairs, lengths).items()):
        rows = min(tokens // length, len(members)) // multiple_of * multiple_of
        if not rows:
            raise UserError(
                f"the bucket of length {length} has {len(members)} pairs, and tokens="
                f"{tokens} gives {tokens // length} rows: too few for rows in "
                f"multiples of {multiple_of}"
            )
        shuffled = grain.MapDataset.source(members).seed(seed + number).shuffle()
        joined = partial(padded, length=length, end=end)
        datasets.append(shuffled.batch(rows, drop_remainder=True, batch_fn=joined))
    dataset = grain.MapDataset.concatenate(datasets).seed(seed).shuffle().repeat()
    dataset = dataset.map(partial(taken, share=share))
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=1)
    return iter(dataset.to_iter_dataset(options))


def padded(pairs: Sequence[Encoded], length: int, end: int) -> PairBatch:
    """The batch of these pairs; each fits into `length`, the target with `end`."""
    source, inputs, targets = np.zeros((3, len(pairs), length), np.int32)
    counts = np.array([(len(x), len(y) + 1) for x, y in pairs])
    for row, (x, y) in enumerate(pairs):
        source[row, : len(x)] = x
        inputs[row, 0] = targets[row, len(y)] = end
        inputs[row, 1 : len(y) + 1] = targets[row, : len(y)] = y
    source_visible, target_visible = np.arange(length) < counts.T[..., None]
    return PairBatch(source, source_visible, inputs, targets, target_visible)


def _buckets(
    pairs: Sequence[Encoded], lengths: Sequence[int]
) -> dict[int, list[Encoded]]:
    """Of every length that some pair needs the pairs, in their order."""
    ascending = sorted(set(lengths))
    if not pairs or list(lengths) != ascending or not lengths or lengths[0] < 1:
        raise UserError(
            "bucketing needs pairs, and positive ascending lengths; got "
            f"{len(pairs)} pairs and lengths={tuple(lengths)}"
        )
    needed = np.array([max(len(x), len(y) + 1) for x, y in pairs])
    longest = int(needed.argmax())
    if needed[longest] > ascending[-1]:
        raise UserError(
            f"pair {longest} needs {needed[longest]} tokens, more than the longest "
            f"bucket, {ascending[-1]}; leave such pairs out or give a longer bucket"
        )
    places = np.searchsorted(ascending, needed)
    return {
        ascending[place]: [pairs[i] for i in np.flatnonzero(places == place).tolist()]
        for place in np.unique(places).tolist()
    }
