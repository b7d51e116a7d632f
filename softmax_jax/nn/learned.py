"""Normalizers and query scales with learned parameters, made from their classes."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array

from softmax_jax.attention.flax_hook import AttentionFn, array_parameters
from softmax_jax.catalogue import parse, parse_query_scale
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.normalizers.parameters import (
    INFINITY,
    Parameter,
    Parametrised,
    declared_parameters,
)
from softmax_jax.query_scales.base import QueryScale

Names = Sequence[str] | None
Owner = TypeVar("Owner", bound=Parametrised)
# How far a learned parameter stays from its bounds.
MARGIN = 1e-3


class NormalizerParam(nnx.Param):
    """A learned parameter of a normalizer or query scale: float32, never decayed."""


class _Learned(nnx.Module):
    """Holds a float32 parameter, one per head or one in all, for each learned name.

    They start at the values of the given instance. A bounded one is held through a
    softplus or a sigmoid, so that training cannot leave the bounds.
    """

    def __init__(self, instance: Parametrised, heads: int, learned: Names):
        raw = initial_parameters(instance, heads, learned)
        self.fixed = nnx.static(_fixed_part(instance, raw))
        self.names = tuple(raw)
        for name, value in raw.items():
            setattr(self, name, NormalizerParam(value))

    def _instance(self) -> Any:
        raw = {name: getattr(self, name)[...] for name in self.names}
        return with_parameters(self.fixed, raw)


class LearnedNormalizer(_Learned):
    """Calling it returns the normalizer that its current parameters make.

    `learned` names the parameters to learn; None learns what the class declares as
    learned.
    """

    def __init__(
        self, normalizer: str | Normalizer, *, heads: int, learned: Names = None
    ):
        super().__init__(parse(normalizer), heads, learned)

    def __call__(self) -> Normalizer:
        return self._instance()


class LearnedQueryScale(_Learned):
    """Calling it returns the query scale that its current parameters make."""

    def __init__(
        self, query_scale: str | QueryScale, *, heads: int, learned: Names = None
    ):
        super().__init__(parse_query_scale(query_scale), heads, learned)

    def __call__(self, x: Array) -> QueryScale:
        """The input x of the layer [B, T, width] does not matter to this one."""
        return self._instance()


class LearnedAttentionFn(nnx.Module):
    """An `attention_fn` for `flax.nnx.MultiHeadAttention` with a learned normalizer."""

    def __init__(
        self,
        normalizer: str | Normalizer,
        *,
        heads: int,
        learned: Names = None,
        query_scale: str | QueryScale | None = None,
    ):
        self.normalizer = LearnedNormalizer(normalizer, heads=heads, learned=learned)
        self.query_scale = (
            None if query_scale is None else LearnedQueryScale(query_scale, heads=heads)
        )

    def __call__(
        self, query: Array, key: Array, value: Array, **keywords: Any
    ) -> Array:
        scale = None if self.query_scale is None else self.query_scale(query)
        attention = AttentionFn(self.normalizer(), scale)
        return attention(query, key, value, **keywords)


class LinenLearnedAttentionFn(linen.Module):
    """The same for `flax.linen.MultiHeadDotProductAttention`."""

    normalizer: str | Normalizer
    learned: Names = None
    query_scale: str | QueryScale | None = None

    # Linen passes only the keywords that the signature names, so it is taken over.
    @linen.compact
    @functools.wraps(AttentionFn.__call__)
    def __call__(self, query, key, value, *arguments, **keywords):
        heads = query.shape[-2]
        normalizer = self._learn(parse(self.normalizer), heads, self.learned, "")
        scale = None
        if self.query_scale is not None:
            chosen = parse_query_scale(self.query_scale)
            scale = self._learn(chosen, heads, None, "query_scale_")
        attention = AttentionFn(normalizer, scale)
        return attention(query, key, value, *arguments, **keywords)

    def _learn(self, instance: Owner, heads: int, learned: Names, prefix: str) -> Owner:
        raw = {
            name: self.param(prefix + name, lambda _, value=value: value)
            for name, value in initial_parameters(instance, heads, learned).items()
        }
        return with_parameters(_fixed_part(instance, raw), raw)


def initial_parameters(
    owner: Parametrised, heads: int, learned: Names = None
) -> dict[str, Array]:
    """What is stored for each learned parameter, unbounded, in float32."""
    declared = declared_parameters(owner)
    names = (
        [n for n, p in declared.items() if p.learned] if learned is None else learned
    )
    for name in names:
        if name not in declared:
            raise UserError(
                f"{type(owner).__name__} has no parameter {name!r} to learn; "
                f"it has {', '.join(declared) or 'none'}"
            )
    raw = {}
    for name in names:
        shape = (heads,) if declared[name].per_head else ()
        value = _initial_value(owner, name, shape)
        raw[name] = jnp.broadcast_to(_unbounded(value, declared[name]), shape)
    return raw


def with_parameters(owner: Owner, raw: dict[str, Array]) -> Owner:
    """`owner` with the stored parameters put into their bounds."""
    declared = declared_parameters(owner)
    return dataclasses.replace(
        owner, **{name: _bounded(raw[name], declared[name]) for name in raw}
    )


def _fixed_part(owner: Owner, raw: dict[str, Array]) -> Owner:
    """The hashable rest: defaults stand where a learned parameter will be put."""
    declared = declared_parameters(owner)
    fixed = dataclasses.replace(owner, **{name: declared[name].default for name in raw})
    for name in array_parameters(fixed):
        raise UserError(
            f"{type(owner).__name__}: {name} is an array and would not be "
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


def _initial_value(owner: Parametrised, name: str, shape: tuple[int, ...]) -> Array:
    """The value in the instance; refused where no stored parameter stands for it."""
    value = getattr(owner, name)
    wrong = f"{type(owner).__name__}: to be learned, {name} must"
    if jnp.shape(value) not in ((), shape):
        raise UserError(
            f"{wrong} be a number or have shape {shape}, got shape {jnp.shape(value)}"
        )
    low, high = _limits(declared_parameters(owner)[name])
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
