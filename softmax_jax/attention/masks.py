"""Which keys a query may see: a mask kept as what it means, not as T x T numbers."""

import dataclasses
import functools
import operator

import jax
from jax import Array

Window = tuple[int, int] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask:
    """The conjunction of everything that was said about visibility.

    Every array is [..., G, T, S] with size 1 where it does not depend on the axis:
    what belongs to queries is a column, what belongs to keys a row, and only `boolean`
    may be as large as the scores. None means that nothing was said. Positions count
    from the first key of the example.
    """

    query_position: Array
    key_position: Array
    boolean: Array | None = None
    query_alive: Array | None = None
    key_alive: Array | None = None
    query_segment: Array | None = None
    key_segment: Array | None = None
    causal: bool = False
    window: Window = None

    def visible(self) -> Array | None:
        """Booleans that broadcast to [..., G, T, S]; None if every key is visible."""
        said = [self.boolean, self.query_alive, self.key_alive]
        if self.query_segment is not None and self.key_segment is not None:
            said.append(self.query_segment == self.key_segment)
        if self.causal:
            said.append(self.key_position <= self.query_position)
        if self.window is not None:
            left, right = self.window
            said.append(self.key_position >= self.query_position - left)
            said.append(self.key_position <= self.query_position + right)
        said = [part for part in said if part is not None]
        return functools.reduce(operator.and_, said) if said else None

    def reachable(self) -> Array | bool:
        """Whether some query may see some key, as far as their positions tell."""
        query, key = self.query_position, self.key_position
        reachable = True
        if self.causal:
            reachable = key.min() <= query.max()
        if self.window is not None:
            left, right = self.window
            reachable &= key.max() >= query.min() - left
            reachable &= key.min() <= query.max() + right
        return reachable


jax.tree_util.register_dataclass(
    Mask,
    data_fields=[
        field.name
        for field in dataclasses.fields(Mask)
        if field.name not in ("causal", "window")
    ],
    meta_fields=["causal", "window"],
)


def key_range(
    rows: range, keys: int, *, offset: int, causal: bool, window: Window
) -> range:
    """The keys that some query in `rows` may see by position, as one range.

    Query i stands at position i + offset; what the range leaves out is never computed.
    """
    first, last = 0, keys - 1
    if causal:
        last = min(last, rows[-1] + offset)
    if window is not None:
        left, right = window
        first = max(first, rows[0] + offset - left)
        last = min(last, rows[-1] + offset + right)
    first = min(first, keys - 1)
    return range(first, max(last, first) + 1)
