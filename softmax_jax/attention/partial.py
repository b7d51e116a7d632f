"""Rows of attention from parts: what is known of some of the keys, and how it merges.

    o = sum_j w(z_j) f(z_j) v_j / (c + sum_j w(z_j) g(z_j))

Both sums run over parts of the keys in any order; the constant c enters once, in the
end. Elementwise rows have the first sum alone.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.tiles import depends, reads_scores
from softmax_jax.attention.operands import Operands
from softmax_jax.attention.reference import scores
from softmax_jax.errors import UserError
from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import (
    Elementwise,
    Level,
    Normalizer,
    Ratio,
    compute_dtype,
)
from softmax_jax.query_scales.base import Seen

# What a family does for its members; a class that does it otherwise may not merge.
STEPS = ("prepare", "solve", "weigh")


class Partial(NamedTuple):
    """Sums over some of the keys in units of e^top, which is -inf where there is none.

    top and mass are [..., T, 1], values [..., T, V]. top has no gradient: every use is
    as a unit that cancels.
    """

    top: Array
    mass: Array
    values: Array


class Known(NamedTuple):
    """What a part of the keys cannot tell of a row: [..., T, 1] each.

    `multiplier` is that of the scores, `top` the unit of the sums and `level` the
    solution, once they are known.
    """

    multiplier: Array | None = None
    top: Array | None = None
    level: Level | None = None


class Extent(NamedTuple):
    """Of some of the keys, [..., T, 1]: the highest visible score before multipliers,
    -inf where there is none, and how many keys weigh more than 0.
    """

    row_max: Array
    support_size: Array


def partial(operands: Operands, *, scale: Array, soft_cap: Array | None) -> Partial:
    """One query head and some of its keys, after `with_counts`."""
    operands = operands.without_unseen()
    z, visible = scores(operands, scale, soft_cap)
    z = _multiplied(operands, z, visible)
    value = operands.value.astype(z.dtype).T
    normalizer = operands.normalizer
    if not isinstance(normalizer, Ratio):
        none = jnp.zeros((z.shape[0], 1), z.dtype)
        weights = normalizer.weigh(z, visible, Level(none, none))
        return Partial(none, none, weights @ value)
    log_w = rows.hide(normalizer.log_weight(z), visible, -jnp.inf)
    top = operands.known.top
    if top is None:
        fixed = jax.lax.stop_gradient(log_w)
        top = jnp.max(fixed, axis=-1, keepdims=True, initial=-jnp.inf)
    w = jnp.exp(log_w - _unit(top))
    factor, mass_factor = normalizer.factor(z), normalizer.mass_factor(z)
    mass = w if mass_factor is None else w * mass_factor
    weights = w if factor is None else w * factor
    return Partial(top, rows.total(mass, None), weights @ value)


def extent(operands: Operands, *, scale: Array, soft_cap: Array | None) -> Extent:
    """One query head and some of its keys, when the level of its rows is known."""
    operands = operands.without_unseen()
    raw, visible = scores(operands, scale, soft_cap)
    z = _multiplied(operands, raw, visible)
    weights = operands.normalizer.weigh(z, visible, operands.known.level)
    raw = rows.hide(raw, visible, -jnp.inf)
    return Extent(
        jnp.max(raw, axis=-1, keepdims=True),
        rows.total((weights > 0).astype(z.dtype), None),
    )


def merge(one: Partial, other: Partial) -> Partial:
    """The sums over the keys of both."""
    top = jnp.maximum(one.top, other.top)
    mine, yours = (jnp.exp(part.top - _unit(top)) for part in (one, other))
    return Partial(
        top,
        one.mass * mine + other.mass * yours,
        one.values * mine + other.values * yours,
    )


def nothing(operands: Operands) -> Partial:
    """The sums of all heads over no key, which merging leaves out."""
    dtype = compute_dtype(operands.query.dtype)
    queries, width = operands.query.shape[:-1], operands.value.shape[-2]
    none = jnp.zeros((*queries, 1), dtype)
    return Partial(none - jnp.inf, none, jnp.zeros((*queries, width), dtype))


def finish(normalizer: Normalizer, total: Partial) -> tuple[Array, Level]:
    """Outputs in the dtype of the scores, and the solution of every row."""
    if not isinstance(normalizer, Ratio):
        return total.values, Level(total.mass, total.mass)
    log_c = normalizer.log_constant()
    if log_c is None:
        top = _unit(total.top)
    else:
        top = _unit(jnp.maximum(total.top, jax.lax.stop_gradient(log_c)))
    known = jnp.exp(total.top - top)
    mass = total.mass * known
    if log_c is not None:
        mass = mass + jnp.exp(log_c - top)
    return total.values * known * rows.reciprocal(mass), Level(top, mass)


def with_counts(operands: Operands, n: Array, scale: Array) -> Operands:
    """With what each query needs of n, its visible keys, filled in beforehand."""
    normalizer, multiplier = operands.normalizer, None
    if operands.query_scale is not None:
        multiplier = operands.query_scale.multiplier(Seen(n, None, n, scale))
    own = normalizer.multiplier(n)
    if own is not None:
        multiplier = own if multiplier is None else own * multiplier
    return dataclasses.replace(
        operands,
        normalizer=normalizer.rows(n, n, None),
        query_scale=None,
        known=Known(multiplier),
    )


def check_parts(operands: Operands) -> None:
    """Refuses what cannot be put together from parts of the keys."""
    normalizer, query_scale = operands.normalizer, operands.query_scale
    z = jnp.ones((1,) * 5, compute_dtype(operands.query.dtype))
    name, family = type(normalizer).__name__, type(normalizer)
    if not isinstance(normalizer, Ratio | Elementwise):
        raise UserError(_refusal(f"{name} finds a threshold for the whole row"))
    base = Ratio if isinstance(normalizer, Ratio) else Elementwise
    own = [m for m in STEPS if getattr(family, m) is not getattr(base, m)]
    if own:
        raise UserError(_refusal(f"{name} has a {own[0]} of its own for whole rows"))
    if reads_scores(normalizer, z):
        raise UserError(_refusal(f"{name} looks at whole rows of scores"))
    if query_scale is not None and depends(
        lambda x: query_scale.multiplier(Seen(z, x > 0, x, z.reshape(()))), z
    ):
        raise UserError(
            _refusal(f"{type(query_scale).__name__} looks at all visible keys")
        )


def _refusal(reason: str) -> str:
    return (
        f'partition: {reason}, which method="ring" has only in parts; '
        f'use "gather" or "ulysses"'
    )


def _multiplied(operands: Operands, z: Array, visible: Array | None) -> Array:
    z = rows.hide(z, visible)
    multiplier = operands.known.multiplier
    return z if multiplier is None else multiplier * z


def _unit(top: Array) -> Array:
    """0 for the height of no score at all."""
    return jnp.where(top == -jnp.inf, 0, top)
