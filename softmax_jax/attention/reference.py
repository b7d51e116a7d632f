"""The definition of correct: scores, weights, values, in plain jnp.

    z = c(n) * (softcap(scale * q.k) + bias),  p = N(z),  o = p v

with n the visible keys of the query. Everything is computed in float32 or wider.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.operands import Operands, over_leading_axis
from softmax_jax.normalizers.base import compute_dtype


def attend(
    operands: Operands, *, scale: Array, soft_cap: Array | None
) -> tuple[Array, Array]:
    """Outputs [G, T, V] and weights [G, T, S] of the query heads of one key head.

    Keys that no query sees and queries that see nothing are zeroed before they are
    multiplied, so that whatever stands there reaches neither values nor gradients.
    """
    query, key, value = operands.query, operands.key, operands.value
    dtype = compute_dtype(query.dtype)
    visible = operands.mask.visible()
    if operands.bias is not None:
        # A bias of -inf is a mask, and is counted as one.
        finite = operands.bias != -jnp.inf
        visible = finite if visible is None else visible & finite
    if visible is not None:
        shape = (visible.shape[0], query.shape[1], key.shape[0])
        visible = jnp.broadcast_to(visible, shape)
        seen = visible.any(axis=(0, 1))[:, None]
        seeing = visible.any(axis=2, keepdims=True)
        key, value = jnp.where(seen, key, 0), jnp.where(seen, value, 0)
        query = jnp.where(seeing, query, 0)
    z = jnp.einsum("gtd,sd->gts", query, key, preferred_element_type=dtype)
    z = jnp.asarray(scale, dtype) * z
    if soft_cap is not None:
        cap = jnp.asarray(soft_cap, dtype)
        z = cap * jnp.tanh(z / cap)
    if operands.bias is not None:
        z = z + operands.bias.astype(dtype)
    weights = operands.normalizer.weights(z, visible)
    output = jnp.einsum("gts,sv->gtv", weights, value.astype(dtype))
    return output.astype(query.dtype), weights


def reference(operands: Operands, *, scale, soft_cap) -> tuple[Array, Array]:
    """Outputs [B, K, G, T, V] and weights [B, K, G, T, S], all at once."""
    head = functools.partial(attend, scale=scale, soft_cap=soft_cap)
    example = functools.partial(over_leading_axis, jax.vmap, head)
    return over_leading_axis(jax.vmap, example, operands)
