"""The operands of one attention call in the one layout that every path works in."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.masks import Mask
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.base import QueryScale


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Operands:
    """Query heads grouped under the key head they share, as [B, K, G, ...].

    Leading axes are stripped by one path or another. An operand has size 1 along every
    axis that it does not depend on. Keys and values lie along the last axis, as the
    scores do: every product of a pass, back or forth, is then one that a CPU does fast.
    """

    query: Array  # [B, K, G, T, D]
    key: Array  # [B, K, 1, D, S]
    value: Array  # [B, K, 1, V, S]
    bias: Array | None  # [B, K, G, T, S]
    mask: Mask  # leaves [B, K, G, T, S]
    normalizer: Normalizer  # leaves [B, K, G, T, 1]
    query_scale: QueryScale | None  # leaves [B, K, G, T, 1]
    known: Any = None  # of each query, from elsewhere: leaves [B, K, G, T, 1]

    def map(
        self,
        of_rows: Callable[[Array], Array] | None = None,
        of_keys: Callable[[Array], Array] | None = None,
    ) -> "Operands":
        """With a function of every array in which queries lie along the last axis but
        one, and a function of every array in which keys lie along the last.
        """

        def rows(tree):
            return _where_longer(of_rows, -2, tree)

        def keys(tree):
            return _where_longer(of_keys, -1, tree)

        return Operands(
            query=rows(self.query),
            key=keys(self.key),
            value=keys(self.value),
            bias=keys(rows(self.bias)),
            mask=keys(rows(self.mask)),
            normalizer=rows(self.normalizer),
            query_scale=rows(self.query_scale),
            known=rows(self.known),
        )

    def by_role(
        self,
        *,
        query: Callable[[Array], Any],
        key: Callable[[Array], Any],
        pair: Callable[[Array], Any],
        row: Callable[[Array], Any],
    ) -> list[Any]:
        """One result for every leaf, in their order.

        `pair` is asked for what lies over queries and keys, bias and mask, and `row`
        for the numbers of each query.
        """
        asked = (
            (query, self.query),
            (key, (self.key, self.value)),
            (pair, (self.bias, self.mask)),
            (row, (self.normalizer, self.query_scale, self.known)),
        )
        return [f(leaf) for f, tree in asked for leaf in jax.tree.leaves(tree)]

    def slice(self, rows: range, keys: range) -> "Operands":
        """The queries `rows` with the keys `keys`."""
        take = jax.lax.slice_in_dim
        return self.map(
            lambda x: take(x, rows.start, rows.stop, axis=x.ndim - 2),
            lambda x: take(x, keys.start, keys.stop, axis=x.ndim - 1),
        )

    def visible(self) -> Array | None:
        """Booleans that broadcast to [..., T, S]; None if every key is visible."""
        visible = self.mask.visible()
        if self.bias is None:
            return visible
        # A bias of -inf is a mask, and is counted as one.
        finite = self.bias != -jnp.inf
        return finite if visible is None else visible & finite

    def without_unseen(self) -> "Operands":
        """With zeros for the keys that no query sees and the queries that see nothing.

        Whatever stands there then reaches neither values nor gradients.
        """
        visible = self.visible()
        if visible is None:
            return self
        seen = visible.any(axis=-2, keepdims=True)
        seeing = visible.any(axis=-1, keepdims=True)
        return dataclasses.replace(
            self,
            query=jnp.where(seeing, self.query, 0),
            key=jnp.where(seen, self.key, 0),
            value=jnp.where(seen, self.value, 0),
        )

    def split_rows(self, blocks: int) -> "Operands":
        """A new leading axis over equal blocks of queries."""

        def split(array: Array) -> Array:
            *lead, t, last = array.shape
            if t == 1:
                return array[None]
            parts = array.reshape(*lead, blocks, t // blocks, last)
            return jnp.moveaxis(parts, -3, 0)

        whole = dataclasses.replace(self, key=self.key[None], value=self.value[None])
        per_row = ("query", "bias", "mask", "normalizer", "query_scale", "known")
        return dataclasses.replace(
            whole,
            **{name: jax.tree.map(split, getattr(self, name)) for name in per_row},
        )


def _where_longer(f: Callable | None, axis: int, tree: Any) -> Any:
    """f of the arrays of more than one entry along the axis."""
    if f is None:
        return tree
    return jax.tree.map(lambda x: x if x.shape[axis] == 1 else f(x), tree)


def over_heads(mapper: Callable, f: Callable, operands: Operands) -> Any:
    """f of every query head, whatever example and key head it belongs to."""
    for _ in "BKG":
        f = functools.partial(over_leading_axis, mapper, f)
    return f(operands)


def over_leading_axis(mapper: Callable, f: Callable, operands: Operands) -> Any:
    """f of every slice of the leading axis; axes of size 1 are shared, not repeated.

    `mapper` is `jax.vmap` (all at once) or `sequential` (one after another).
    """
    leaves, tree = jax.tree.flatten(operands)
    size = max(leaf.shape[0] for leaf in leaves)
    own = [leaf for leaf in leaves if leaf.shape[0] == size]

    def body(slices):
        slices = iter(slices)
        parts = [next(slices) if x.shape[0] == size else x[0] for x in leaves]
        return f(tree.unflatten(parts))

    return mapper(body)(own)


def sequential(body: Callable) -> Callable:
    """`jax.vmap` in meaning, one slice after another in memory."""
    return lambda slices: jax.lax.map(body, slices)
