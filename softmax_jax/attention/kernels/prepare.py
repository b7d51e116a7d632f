"""What precedes a kernel, in plain jnp, which JAX differentiates.

Counts of visible keys and all that depends on them, multipliers folded into queries,
parameters as numbers of rows. Where the log weight is linear in the score, that is
folded too, with log 2.
"""

import dataclasses
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.tiles import Tile, family_of, linear
from softmax_jax.attention.kernels.twins import (
    LOG2_E,
    Constants,
    Power2,
    Twin,
    twin_of,
)
from softmax_jax.attention.masks import Mask
from softmax_jax.attention.operands import Operands
from softmax_jax.normalizers.base import Normalizer, Ratio
from softmax_jax.query_scales.base import QueryScale, Seen

# e^60 weights of as many keys as there will be can be added in float32, and e^-60 is
# not lost in it.
LARGEST_LOG_WEIGHT = 60.0


def is_bounded(
    normalizer: Normalizer,
    query_scale: QueryScale | None,
    soft_cap: ArrayLike | None,
    bias: ArrayLike | None,
) -> bool:
    """Whether log weights are known to be so small that no maximum need be taken off.

    Asked before parameters and the soft-cap become arrays.
    """
    if not isinstance(normalizer, Ratio):
        return False
    multiplied = type(normalizer).multiplier is not Normalizer.multiplier
    free = multiplied or query_scale is not None or bias is not None
    capped = isinstance(soft_cap, numbers.Real) and not free
    bound = normalizer.bound(float(soft_cap) if capped else math.inf)
    return isinstance(bound, numbers.Real) and abs(bound) <= LARGEST_LOG_WEIGHT


def only_positions(operands: Operands) -> bool:
    """Whether causality and a window are all that may hide a key."""
    mask = operands.mask
    others = (
        mask.boolean,
        mask.query_alive,
        mask.key_alive,
        mask.query_segment,
        mask.key_segment,
        operands.bias,
    )
    return all(other is None for other in others)


def _reach(mask: Mask, t: int, s: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last key that each query sees, where queries count up."""
    position = np.arange(t) + offset
    first, last = np.zeros(t, int), np.full(t, s - 1)
    if mask.causal:
        last = np.minimum(last, position)
    if mask.window is not None:
        first = np.maximum(first, position - mask.window[0])
        last = np.minimum(last, position + mask.window[1])
    return first, last


def without_unseen(operands: Operands, offset: int | None) -> Operands:
    """Zeros for keys that no query of a group of heads sees, and for blind queries."""
    t, s = operands.query.shape[3], operands.key.shape[4]
    if offset is None:
        visible = operands.visible()
        if visible is None:
            return operands
        seen = visible.any(axis=(2, 3), keepdims=True)
        seeing = visible.any(axis=4, keepdims=True)
    else:
        first, last = _reach(operands.mask, t, s, offset)
        some = first <= last
        steps = np.zeros(s + 1, int)
        np.add.at(steps, first[some], 1)
        np.add.at(steps, last[some] + 1, -1)
        seen, seeing = np.cumsum(steps[:-1]) > 0, some
        if seeing.all() and seen.all():
            return operands
        seen, seeing = seen.reshape(1, 1, 1, 1, s), seeing.reshape(1, 1, 1, t, 1)
    return dataclasses.replace(
        operands,
        query=jnp.where(seeing, operands.query, 0),
        key=jnp.where(seen, operands.key, 0),
        value=jnp.where(seen, operands.value, 0),
    )


def key_count(operands: Operands, offset: int | None) -> Array:
    """n, how many keys each query sees, [B, K, G, T, 1]; 1 where it sees none."""
    t, s = operands.query.shape[3], operands.key.shape[4]
    if offset is not None:
        first, last = _reach(operands.mask, t, s, offset)
        n = jnp.asarray(last - first + 1, jnp.float32).reshape(1, 1, 1, t, 1)
        return jnp.maximum(n, 1)
    visible = operands.visible()
    if visible is None:
        return jnp.full((1,) * 5, s, jnp.float32)
    shape = jnp.broadcast_shapes(visible.shape, (1, 1, 1, 1, s))
    seen = jnp.broadcast_to(visible, shape)
    return jnp.maximum(jnp.sum(seen, axis=-1, keepdims=True, dtype=jnp.float32), 1)


def multiplied(operands: Operands, n: Array, scale: Array) -> tuple[Array, Normalizer]:
    """c of every row, [B, K, G, T, 1], and the normalizer without its own."""
    c = jnp.ones((1,) * 5, jnp.float32)
    if operands.query_scale is not None:
        key = operands.key.astype(jnp.float32)
        square = jnp.sum(key**2, axis=-2, keepdims=True)
        length = jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
        seen = Seen(n, operands.visible(), length, scale)
        c = c * operands.query_scale.multiplier(seen)
    own = operands.normalizer.multiplier(n)
    return (c if own is None else c * own), operands.normalizer


def folded(
    normalizer: Normalizer,
    c: Array,
    scale: Any,
    soft_cap: ArrayLike | None,
    *,
    known: Constants = (),
    bounded: bool = False,
    has_bias: bool,
    exact: bool,
) -> tuple[Tile, Array, dict[str, Array], Array | None]:
    """The rule, the multiplier of queries, the numbers of rows, and log c."""
    family = family_of(normalizer)
    constant = getattr(normalizer, "log_constant", lambda: None)()
    log_c = None
    if constant is not None:
        shape = (1,) * 5 if jnp.ndim(constant) < 5 else jnp.shape(constant)
        log_c = jnp.broadcast_to(jnp.asarray(constant, jnp.float32), shape)
    straight = linear(normalizer)
    if straight is not None:
        slope, start = straight
        c = c * slope * LOG2_E
        if log_c is not None:
            log_c = (log_c - start) * LOG2_E
        normalizer, family = Power2(), Twin
    twin = twin_of(normalizer, known, exact=exact)
    if twin is not None:
        normalizer, family = twin, Twin
        c = c * LOG2_E
        log_c = None if log_c is None else log_c * LOG2_E
    leaves, tree = jax.tree.flatten(normalizer)
    rows = {str(i): leaf for i, leaf in enumerate(leaves)}
    tile = Tile(tree, len(leaves), family, soft_cap is not None, exact, bounded)
    fold = jnp.asarray(scale, jnp.float32).reshape((1,) * 5)
    if soft_cap is not None:
        cap = jnp.asarray(soft_cap, jnp.float32).reshape((1,) * 5)
        rows["score"] = c * cap
        fold = fold / cap
    elif has_bias:
        rows["score"] = c
    else:
        fold = fold * c
    if has_bias:
        rows["bias"] = c
    return tile, fold, rows, log_c
