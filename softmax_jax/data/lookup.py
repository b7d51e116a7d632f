"""Key-value lookup: find one key among n and say its value."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class LookupBatch(NamedTuple):
    """Rows of (key, value) pairs with one key asked for; `needle` is its place."""

    keys: Int[Array, "b n"]
    values: Int[Array, "b n"]
    visible: Bool[Array, "b n"]
    query: Int[Array, " b"]
    needle: Int[Array, " b"]
    answer: Int[Array, " b"]


def batch(
    key: jax.Array,
    batch_size: int,
    n: int | Array,
    *,
    shortest: int | Array | None = None,
    capacity: int | None = None,
    vocabulary: int = 8192,
    values: int = 10,
) -> LookupBatch:
    """Draws rows of n pairs, or of `shortest` to n where that is given.

    The keys of a row are distinct and the values independent, so chance is 1 / values.
    Rows are padded to `capacity` (default: n); with it, n and `shortest` may be traced
    and one compilation serves every length. `vocabulary` is at least n.

    Key i is drawn from the i-th of n equal parts of the vocabulary: distinct without a
    sort. Keys therefore ascend, which a layer without positions cannot see.
    """
    capacity = int(n) if capacity is None else capacity
    shortest = n if shortest is None else shortest
    count_key, key_key, value_key, needle_key = jax.random.split(key, 4)
    shape = (batch_size, capacity)
    count = jax.random.randint(count_key, (batch_size, 1), shortest, n + 1)
    place = jnp.arange(capacity)[None]
    visible = place < count
    part = vocabulary // count
    keys = place * part + jax.random.randint(key_key, shape, 0, part)
    keys = jnp.where(visible, keys, 0)
    drawn = jax.random.randint(value_key, shape, 0, values)
    needle = jax.random.randint(needle_key, (batch_size, 1), 0, count)
    query = jnp.take_along_axis(keys, needle, axis=1)[:, 0]
    answer = jnp.take_along_axis(drawn, needle, axis=1)[:, 0]
    return LookupBatch(keys, drawn, visible, query, needle[:, 0], answer)
