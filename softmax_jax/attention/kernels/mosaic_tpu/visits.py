"""Which tiles a kernel visits, in what order: one word of 32 bits per tile.

What a mask rules out is not in the list, so that nothing of it is fetched or computed.
The list is made when the program is traced where positions are static, and on the
device where they, lengths or segments are not.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl

from softmax_jax.attention.kernels.kinds import HIDDEN, PARTLY, WHOLE

FIRST, LAST, WORK, MASKED, AGAIN = 1, 2, 4, 8, 16
ROW, COLUMN = 17, 5
MOST_BLOCKS = 1 << 12


class Visits(NamedTuple):
    """The words of each example, [B or 1, N], and how many of them to walk through."""

    words: Any
    count: Any
    kinds: tuple[int, ...]  # of the tiles with work, WHOLE or PARTLY, that may occur

    def at(self, ref: Any, b: Any, n: Any) -> Any:
        return ref[n if self.words.shape[0] == 1 else b * self.words.shape[1] + n]


def on_work(
    word: Any, kinds: tuple[int, ...], step: Callable[..., None], unless: int = 0
) -> None:
    """step(masked=) where the word says that there is work, as it says."""
    for kind in kinds:
        flags = WORK | MASKED if kind == PARTLY else WORK
        work = functools.partial(step, masked=kind == PARTLY)
        pl.when((word & (WORK | MASKED | unless)) == flags)(work)


def row_of(word: Any) -> Any:
    return word >> ROW


def column_of(word: Any) -> Any:
    return (word >> COLUMN) & (MOST_BLOCKS - 1)


def whole(rows: int, columns: int) -> np.ndarray:
    """The tiles of a call without a mask."""
    return np.full((1, rows, columns), WHOLE)


def visits(
    kinds: Any, *, by_column: bool, every: bool = False, twice: bool = False
) -> Visits:
    """The tiles to visit, row by row or column by column.

    `kinds` is [B or 1, rows, columns], an array of numpy if it is static. A row without
    a tile is visited once, to write its zeros; `every` visits all that is hidden too,
    and `twice` walks along each row again, with words that say so.
    """
    xp = np if isinstance(kinds, np.ndarray) else jnp
    if max(kinds.shape[1:]) > MOST_BLOCKS:
        raise NotImplementedError(
            f"the kernels for TPUs walk through at most {MOST_BLOCKS} blocks along an "
            f"axis, got {kinds.shape[1:]}; use larger blocks"
        )
    columns = kinds.shape[2]
    if twice:
        kinds = xp.concatenate([kinds, kinds], axis=2)
    row, column = np.indices(kinds.shape[1:], np.int32)[:, None]
    word = (row << ROW) | (column % columns << COLUMN)
    word |= np.where(column < columns, 0, AGAIN).astype(np.int32)
    minor = row if by_column else column
    if by_column:
        kinds, word, minor = (x.swapaxes(1, 2) for x in (kinds, word, minor))
    work = kinds > HIDDEN
    keep = xp.logical_or(work, (minor == 0) & ~work.any(axis=2, keepdims=True))
    if every:
        keep = xp.ones_like(keep)
    word = word | xp.where(work, np.int32(WORK), np.int32(0))
    word = word | xp.where(kinds == PARTLY, np.int32(MASKED), np.int32(0))
    flat = (kinds.shape[0], -1)
    keep, word = keep.reshape(flat), word.reshape(flat)
    word, count = _compacted(xp, keep, word)
    occur = [kind for kind in (WHOLE, PARTLY) if xp is jnp or (kinds == kind).any()]
    return Visits(_mark_ends(xp, word, count, by_column), count, tuple(occur))


def _compacted(xp: Any, keep: Any, word: Any) -> tuple[Any, Any]:
    """The kept words in front; behind them the last one again, with nothing to do."""
    count = keep.sum(axis=1)
    order = xp.argsort(~keep, axis=1, stable=True)
    word = xp.take_along_axis(word, order, axis=1)
    if xp is np:
        word = word[:, : count.max()]
    place = np.arange(word.shape[1], dtype=np.int32)[None]
    last = xp.take_along_axis(word, count[:, None] - 1, axis=1)
    tail = place >= count[:, None]
    most = count.max()
    word = xp.where(tail, last & ~(WORK | MASKED), word)
    return word, int(most) if xp is np else most


def _mark_ends(xp: Any, word: Any, count: Any, by_column: bool) -> Any:
    """Says which words open a row (or column), and which close it."""
    major = column_of(word) if by_column else row_of(word)
    change = major[:, 1:] != major[:, :-1]
    edge = xp.ones_like(major[:, :1], dtype=bool)
    first = xp.concatenate([edge, change], axis=1)
    last = xp.concatenate([change, edge], axis=1)
    last |= np.arange(word.shape[1])[None] == count - 1
    zero = np.int32(0)
    word = word | xp.where(first, np.int32(FIRST), zero)
    return word | xp.where(last, np.int32(LAST), zero)


def as_word_list(visited: Visits) -> Array:
    """What is handed to the kernel: scalar memory holds one axis well."""
    return jnp.asarray(visited.words).reshape(-1)
