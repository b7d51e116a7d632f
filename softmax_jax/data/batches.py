"""Batches of token windows: a shuffled endless stream, and the same few for judging."""

from collections.abc import Iterator

import grain
import numpy as np

from softmax_jax.errors import UserError


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
    tokens: np.ndarray, sequence_length: int, batch_size: int, seed: int
) -> grain.DatasetIterator:
    """An endless iterator of int32 [batch_size, sequence_length + 1].

    Every epoch shows each window once, in an order of its own. The position is an
    integer: `get_state()` is JSON-able and `set_state` works on a fresh iterator.
    """
    windows = _enough(Windows(tokens, sequence_length), batch_size, "training")
    dataset = grain.MapDataset.source(windows).seed(seed).shuffle().repeat()
    dataset = dataset.batch(batch_size, drop_remainder=True)
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
