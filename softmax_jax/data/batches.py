"""Batches of token windows: a shuffled endless stream, and the same few for judging."""

from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np

from softmax_jax.errors import UserError

# Of a batch of n rows, the numbers of those wanted here; other processes make the rest.
Share = Callable[[int], np.ndarray]


def whole(rows: int) -> np.ndarray:
    """The share of a process that is alone."""
    return np.arange(rows)


def taken(batch: Any, share: Share) -> Any:
    """The share of a whole batch, a named tuple of arrays."""
    return type(batch)(*(array[share(len(array))] for array in batch))


class Shared(grain.MapDataset):
    """Of every `batch_size` elements one share, without asking for the others."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, share: Share):
        super().__init__(parent)
        self._batch_size, self._rows = batch_size, share(batch_size)

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, len(self._rows))
        return self._parent[batch * self._batch_size + int(self._rows[row])]

    def batched(self, **options: Any) -> grain.MapDataset:
        """Its elements in batches: the shares of whole ones."""
        return self.batch(len(self._rows), drop_remainder=True, **options)


class Windows:
    """Window i is `tokens[i * length : (i + 1) * length + 1]`, int32.

    A window's last token is the next one's first: as inputs and targets shifted by
    one, every token but the first of all is predicted exactly once.
    """

    def __init__(self, tokens: np.ndarray, length: int):
        self.tokens = tokens
        self.length = length

    def __len__(self) -> int:
        return max(0, len(self.tokens) - 1) // self.length

    def __getitem__(self, index: int) -> np.ndarray:
        start = index * self.length
        return self.tokens[start : start + self.length + 1].astype(np.int32)


def train_batches(
    tokens: np.ndarray,
    sequence_length: int,
    batch_size: int,
    seed: int,
    share: Share = whole,
) -> grain.DatasetIterator:
    """An endless iterator of int32 [batch_size, sequence_length + 1], or a share of it.

    Every epoch shows each window once, in an order of its own. The position is an
    integer: `get_state()` is JSON-able and `set_state` works on a fresh iterator.
    """
    windows = _enough(Windows(tokens, sequence_length), batch_size, "training")
    dataset = grain.MapDataset.source(windows).seed(seed).shuffle().repeat()
    dataset = Shared(dataset, batch_size, share).batched()
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=1)
    return iter(dataset.to_iter_dataset(options))


def evaluation_batches(
    tokens: np.ndarray, sequence_length: int, batch_size: int, count: int
) -> Iterator[np.ndarray]:
    """The first `count` batches (fewer if the text ends), in the order of the text."""
    windows = _enough(Windows(tokens, sequence_length), batch_size, "validation")
    for batch in range(min(count, len(windows) // batch_size)):
        rows = range(batch * batch_size, (batch + 1) * batch_size)
        yield np.stack([windows[row] for row in rows])


def _enough(windows: Windows, batch_size: int, part: str) -> Windows:
    if len(windows) < batch_size:
        raise UserError(
            f"The {part} part holds {len(windows)} windows of {windows.length} tokens, "
            f"fewer than training.batch_size={batch_size}; give a longer text, or a "
            "smaller training.batch_size or training.sequence_length."
        )
    return windows
