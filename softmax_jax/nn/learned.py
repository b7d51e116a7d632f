"""Normalizers with learned parameters, made from what their class declares."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array

from softmax_jax.attention.flax_hook import AttentionFn, array_parameters
from softmax_jax.catalogue import parse
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.normalizers.parameters import (
    INFINITY,
    Parameter,
    declared_parameters,
)

Names = Sequence[str] | None
# How far a learned parameter stays from its bounds.
MARGIN = 1e-3


class NormalizerParam(nnx.Param):
    """A learned parameter of a normalizer: float32, and never decayed."""


class LearnedNormalizer(nnx.Module):
    """Calling it returns the normalizer that its current parameters make.

    Holds a float32 parameter, one per head or one in all, for each name in `learned`;
    None learns what the class declares as learned. They start at the values of the
    given instance. A bounded one is held through a softplus or a sigmoid, so that
    training cannot leave the bounds.
    """

    def __init__(
        self, normalizer: str | Normalizer, *, heads: int, learned: Names = None
    ):
        normalizer = parse(normalizer)
        raw = initial_parameters(normalizer, heads, learned)
        self.fixed = nnx.static(_fixed_part(normalizer, raw))
        self.names = tuple(raw)
        for name, value in raw.items():
            setattr(self, name, NormalizerParam(value))

    def __call__(self) -> Normalizer:
        raw = {name: getattr(self, name)[...] for name in self.names}
        return with_parameters(self.fixed, raw)


class LearnedAttentionFn(nnx.Module):
    """An `attention_fn` for `flax.nnx.MultiHeadAttention` with a learned normalizer."""

    def __init__(
        self, normalizer: str | Normalizer, *, heads: int, learned: Names = None
    ):
        self.normalizer = LearnedNormalizer(normalizer, heads=heads, learned=learned)

    def __call__(
        self, query: Array, key: Array, value: Array, **keywords: Any
    ) -> Array:
        return AttentionFn(self.normalizer())(query, key, value, **keywords)


class LinenLearnedAttentionFn(linen.Module):
    """The same for `flax.linen.MultiHeadDotProductAttention`."""

    normalizer: str | Normalizer
    learned: Names = None

    # Linen passes only the keywords that the signature names, so it is taken over.
    @linen.compact
    @functools.wraps(AttentionFn.__call__)
    def __call__(self, query, key, value, *arguments, **keywords):
        normalizer = parse(self.normalizer)
        raw = {
            name: self.param(name, lambda _, value=value: value)
            for name, value in initial_parameters(
                normalizer, query.shape[-2], self.learned
            ).items()
        }
        attention = AttentionFn(with_parameters(_fixed_part(normalizer, raw), raw))
        return attention(query, key, value, *arguments, **keywords)


def initial_parameters(
    normalizer: Normalizer, heads: int, learned: Names = None
) -> dict[str, Array]:
    """What is stored for each learned parameter, unbounded, in float32."""
    declared = declared_parameters(normalizer)
    names = (
        [n for n, p in declared.items() if p.learned] if learned is None else learned
    )
    for name in names:
        if name not in declared:
            raise UserError(
                f"{type(normalizer).__name__} has no parameter {name!r} to learn; "
                f"it has {', '.join(declared) or 'none'}"
            )
    raw = {}
    for name in names:
        shape = (heads,) if declared[name].per_head else ()
        value = _initial_value(normalizer, name, shape)
        raw[name] = jnp.broadcast_to(_unbounded(value, declared[name]), shape)
    return raw


def with_parameters(normalizer: Normalizer, raw: dict[str, Array]) -> Normalizer:
    """The normalizer with the stored parameters put into their bounds."""
    declared = declared_parameters(normalizer)
    return dataclasses.replace(
        normalizer, **{name: _bounded(raw[name], declared[name]) for name in raw}
    )


def _fixed_part(normalizer: Normalizer, raw: dict[str, Array]) -> Normalizer:
    """The hashable rest: defaults stand where a learned parameter will be put."""
    declared = declared_parameters(normalizer)
    fixed = dataclasses.replace(
        normalizer, **{name: declared[name].default for name in raw}
    )
    for name in array_parameters(fixed):
        raise UserError(
            f"{type(normalizer).__name__}: {name} is an array and would not be "
            f"learned; name it in `learned`, or give a number"
        )
    return fixed


def _limits(parameter: Parameter) -> tuple[float, float]:
    """The bounds moved inwards by MARGIN, or by that part of a narrow interval.

    A softplus or a sigmoid rounds to its limit, and at a bound itself a normalizer
    divides by zero: entmax at alpha = 1, softmax at temperature 0.
    """
    low, high = parameter.bounds
    margin = MARGIN * min(1.0, high - low)
    return low + margin, high - margin


def _initial_value(normalizer: Normalizer, name: str, shape: tuple[int, ...]) -> Array:
    """The value in the instance; refused where no stored parameter stands for it."""
    value = getattr(normalizer, name)
    wrong = f"{type(normalizer).__name__}: to be learned, {name} must"
    if jnp.shape(value) not in ((), shape):
        raise UserError(
            f"{wrong} be a number or have shape {shape}, got shape {jnp.shape(value)}"
        )
    low, high = _limits(declared_parameters(normalizer)[name])
    if not isinstance(value, jax.core.Tracer):
        if not np.all((low < np.asarray(value)) & (np.asarray(value) < high)):
            raise UserError(
                f"{wrong} lie strictly between {low:g} and {high:g}, got {value}"
            )
    return jnp.asarray(value, jnp.float32)


def _bounded(raw: Array, parameter: Parameter) -> Array:
    low, high = _limits(parameter)
    if low == -INFINITY and high == INFINITY:
        return raw
    if high == INFINITY:
        return low + jax.nn.softplus(raw)
    if low == -INFINITY:
        return high - jax.nn.softplus(raw)
    return low + (high - low) * jax.nn.sigmoid(raw)


def _unbounded(value: Array, parameter: Parameter) -> Array:
    """The inverse of `_bounded`."""
    low, high = _limits(parameter)
    if low == -INFINITY and high == INFINITY:
        return value
    if high == INFINITY:
        return _inverse_softplus(value - low)
    if low == -INFINITY:
        return _inverse_softplus(high - value)
    return jnp.log(value - low) - jnp.log(high - value)


def _inverse_softplus(y: Array) -> Array:
    return y + jnp.log(-jnp.expm1(-y))
