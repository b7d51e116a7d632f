"""Which blocks a walk goes through, and what of a block is hidden.

A walk over the blocks of the other axis is three loops, `begin <= whole <= rest <=
end`: blocks from `whole` to `rest` are seen entirely, the others compare positions and
segments. The four numbers are arithmetic where all positions are static, and are read
from an array where they, lengths or segments are not.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from softmax_jax.attention.masks import Window


class Range(NamedTuple):
    """The blocks of a walk; numbers, or scalars of a kernel."""

    begin: Any
    whole: Any
    rest: Any
    end: Any

    def in_one_loop(self, can_hide: tuple[bool, bool]) -> "Range":
        """All of it where positions are compared: one loop leaves more registers."""
        begin, _, _, end = self
        return (
            Range(begin, begin, begin, end) if can_hide[1] else Range(begin, *[end] * 3)
        )


@dataclasses.dataclass(frozen=True)
class Sight:
    """What is static of the mask: query i stands at key `offset` + i, or see arrays."""

    causal: bool
    window: Window
    offset: int | None
    lengths: tuple[int, int]  # T and S before they were padded

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """How far below and above its own place a query sees; None is to the end."""
        left, right = (None, None) if self.window is None else self.window
        if self.causal:
            right = 0 if right is None else min(right, 0)
        return (None if left is None else -left), right

    def keys(self, first: Any, rows: int, block: int) -> Range:
        """The blocks of keys that the queries from `first` on see."""
        t, s = self.lengths
        offset, (low, high) = self.offset or 0, self.reach
        last = _least(first + (rows - 1), t - 1)
        low, high = (None if x is None else x + offset for x in (low, high))
        return _range(first, last, low, high, s, s, block)

    def queries(self, first: Any, columns: int, block: int) -> Range:
        """The blocks of queries that see the keys from `first` on."""
        t, s = self.lengths
        offset, (low, high) = self.offset or 0, self.reach
        last = _least(first + (columns - 1), s - 1)
        low, high = (None if x is None else -x - offset for x in (high, low))
        return _range(first, last, low, high, t, -(-t // block) * block, block)

    def near(self, query: Any, key: Any) -> list[Array]:
        """What the places of a query and of a key that it sees satisfy."""
        low, high = self.reach
        said = [] if high is None else [key <= query + high]
        return said if low is None else [*said, key >= query + low]


def _range(
    first: Any,
    last: Any,
    low: int | None,
    high: int | None,
    length: int,
    complete: int,
    block: int,
) -> Range:
    """Of `length` places, `complete` of which are there: x sees x + low to x + high."""
    begin, whole, rest, end = 0, 0, complete // block, -(-length // block)
    if low is not None:
        begin = lax.div(_most(first + low, 0), jnp.int32(block))
        whole = lax.div(_most(last + low, 0) + (block - 1), jnp.int32(block))
    if high is not None:
        seen = _most(_least(last + (high + 1), length), 0)
        end = lax.div(seen + (block - 1), jnp.int32(block))
        every = _most(_least(first + (high + 1), complete), 0)
        rest = lax.div(every, jnp.int32(block))
    return ordered(Range(begin, whole, rest, end))


def ordered(found: Range) -> Range:
    """With every number at least the one before, and none beyond the end."""
    begin, whole, rest, end = found
    end = _most(end, begin)
    whole = _least(_most(whole, begin), end)
    return Range(begin, whole, _least(_most(rest, whole), end), end)


def ranges_of(kinds: Any) -> Array:
    """Of what a mask says of every tile, [B or 1, rows, columns], int32 [.., rows, 4].

    What lies between the first and the last tile with something to see is visited; of
    the whole tiles, the first that follow each other count as such.
    """
    columns = kinds.shape[2]
    some, whole = kinds > 0, kinds > 1
    place = np.arange(columns, dtype=np.int32).reshape(1, 1, -1)
    begin = jnp.where(some, place, columns).min(-1)
    end = jnp.where(some, place + 1, 0).max(-1)
    start = jnp.where(whole, place, columns).min(-1)
    broken = ~whole & (place >= start[..., None])
    rest = jnp.where(broken, place, columns).min(-1)
    begin = jnp.minimum(begin, end)
    start = jnp.clip(start, begin, end)
    rest = jnp.clip(rest, start, end)
    return jnp.stack([begin, start, rest, end], axis=-1).astype(jnp.int32)


def _least(x: Any, y: Any) -> Any:
    return min(x, y) if isinstance(x, int) and isinstance(y, int) else jnp.minimum(x, y)


def _most(x: Any, y: Any) -> Any:
    return max(x, y) if isinstance(x, int) and isinstance(y, int) else jnp.maximum(x, y)
