"""Several texts in one stream of batches, in given proportions."""

from collections.abc import Sequence

import grain
import numpy as np

from softmax_jax.data.batches import Share, Shared, Windows, whole
from softmax_jax.errors import UserError


def mixed_batches(
    texts: Sequence[np.ndarray],
    weights: Sequence[int | float],
    sequence_length: int,
    batch_size: int,
    seed: int,
    share: Share = whole,
) -> grain.DatasetIterator:
    """An endless iterator of int32 [batch_size, sequence_length + 1], row by row mixed.

    Of any n rows from the start, text i has n weights[i] / sum(weights), up to rounding
    and to a hundredth of the smallest weight. A text starts its next epoch, in another
    order, whenever it has been seen whole. `share` gives a part of every batch.
    `get_state()` is JSON-able, and `set_state` works on a fresh iterator.
    """
    if len(texts) != len(weights) or not texts or min(weights) <= 0:
        raise UserError(
            "mixing needs one positive weight for each text, got "
            f"weights={tuple(weights)} for {len(texts)} texts"
        )
    sources = [Windows(text, sequence_length) for text in texts]
    for number, source in enumerate(sources):
        if not len(source):
            raise UserError(
                f"text {number} has {len(texts[number])} tokens, too few for one "
                f"window of sequence_length={sequence_length}"
            )
    endless = [
        grain.MapDataset.source(source).seed(seed + number).shuffle().repeat()
        for number, source in enumerate(sources)
    ]
    mixed = grain.MapDataset.mix(endless, weights)
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=1)
    batches = Shared(mixed, batch_size, share).batched()
    return iter(batches.to_iter_dataset(options))
