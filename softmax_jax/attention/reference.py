"""The definition of correct: scores, weights, values, in plain jnp.

    z = c * (softcap(scale * q.k) + bias),  p = N(z),  o = p v

with c the query scale. Everything is computed in float32 or wider.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.operands import Operands
from softmax_jax.attention.statistics import Statistics, statistics
from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import compute_dtype
from softmax_jax.query_scales.base import Seen


class Attended(NamedTuple):
    """Outputs [..., G, T, V], weights [..., G, T, S] and statistics [..., G, T]."""

    output: Array
    weights: Array
    statistics: Statistics | None


def attend(operands: Operands, *, scale: Array, soft_cap: Array | None) -> Attended:
    """One query head."""
    operands = operands.without_unseen()
    z, visible = scores(operands, scale, soft_cap)
    raw = z
    if operands.query_scale is not None:
        n = rows.visible_count(z, visible)
        length = _lengths(operands.key.astype(z.dtype))
        seen_by_query = Seen(n, visible, length, jnp.asarray(scale, z.dtype))
        z = operands.query_scale.multiplier(seen_by_query) * rows.hide(z, visible)
    normalizer, z = operands.normalizer.prepare(z, visible)
    level = normalizer.solve(z, visible)
    weights = normalizer.weigh(z, visible, level)
    output = weights @ operands.value.astype(z.dtype).T
    return Attended(
        output.astype(operands.query.dtype),
        weights,
        statistics(normalizer, level, raw, visible, weights),
    )


def scores(
    operands: Operands, scale: Array, soft_cap: Array | None
) -> tuple[Array, Array | None]:
    """softcap(scale * q.k) + bias of one head, [T, S], and what of it is visible."""
    query, key = operands.query, operands.key
    dtype = compute_dtype(query.dtype)
    visible = operands.visible()
    if visible is not None:
        visible = jnp.broadcast_to(visible, (query.shape[0], key.shape[1]))
    z = (jnp.asarray(scale, dtype) * query.astype(dtype)) @ key.astype(dtype)
    if soft_cap is not None:
        cap = jnp.asarray(soft_cap, dtype)
        z = cap * jnp.tanh(z / cap)
    if operands.bias is not None:
        z = z + operands.bias.astype(dtype)
    return z, visible


def _lengths(key: Array) -> Array:
    """|k_j| as [1, S]; a key of zeros has length and gradient 0."""
    square = jnp.sum(key**2, axis=0, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))
