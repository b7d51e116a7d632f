"""The contract: a normalizer is a small class, and its family does the rest.

A member of a family writes elementwise mathematics in the scores z and in its own
fields, in plain jnp. Masks, row statistics, stability, axes, dtypes and derivatives
are written here, once.
"""

import abc
import dataclasses
import functools
from typing import Any, ClassVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from softmax_jax.errors import UserError
from softmax_jax.normalizers import roots, rows
from softmax_jax.normalizers.parameters import check_bounds, parameter
from softmax_jax.normalizers.rows import Rows, Statistic, Visible

Axis = int | tuple[int, ...] | None


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(parameter,)
)
class Normalizer(abc.ABC):
    """p = N(z): maps the visible scores of a row to weights.

    A subclass becomes a frozen, keyword-only dataclass and a pytree by itself: fields
    declared with `parameter` are its leaves, all others are static. An instance is
    callable with the manners of `jax.nn.softmax`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    tags: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        leaf = {f.name: "parameter" in f.metadata for f in dataclasses.fields(cls)}
        jax.tree_util.register_dataclass(
            cls,
            data_fields=[name for name in leaf if leaf[name]],
            meta_fields=[name for name in leaf if not leaf[name]],
        )

    def __call__(
        self,
        x: Shaped[ArrayLike, "*shape"],
        *,
        axis: Axis = -1,
        where: Bool[ArrayLike, "..."] | None = None,
    ) -> Float[Array, "*shape"]:
        """The weights of x along `axis` (an int, several, or None for all).

        Entries where `where` is False, and scores of -inf, are masked: their weight
        and gradient are exactly 0 and they are not counted. Parameters broadcast
        against x with size 1 along `axis`. Computes in float32 or wider and returns
        the dtype of x.
        """
        check_bounds(self)
        return _normalize(self, jnp.asarray(x), where, axis=axis)

    def multiplier(self, n: Statistic) -> Array | None:
        """What the scores are multiplied by, given the visible count n; None is 1."""
        return None

    def rows(self, n: Statistic, z: Rows, visible: Visible) -> "Normalizer":
        """This normalizer with the parameters that depend on the row filled in."""
        return self

    @abc.abstractmethod
    def normalize(self, z: Rows, visible: Visible) -> Rows:
        """The weights of rows along the last axis; masked scores are 0 already."""

    def weights(self, z: Rows, visible: Visible) -> Rows:
        """The weights of rows of raw scores: the whole pipeline, in one dtype."""
        n = rows.visible_count(z, visible)
        z = rows.hide(z, visible)
        scale = self.multiplier(n)
        if scale is not None:
            z = scale * z
        return self.rows(n, z, visible).normalize(z, visible)


class Ratio(Normalizer):
    """p_j = w(z_j) / (c + sum_i w(z_i)): a positive weight over the mass of its row.

    Computed as exp(log w - m) with m the largest log w or log c of the row, so that
    nothing overflows; a row whose mass is exactly 0 has zero weights.
    """

    @abc.abstractmethod
    def log_weight(self, z: Array) -> Array:
        """log w(z), elementwise."""

    def log_constant(self) -> ArrayLike | None:
        """log c, a mass that belongs to no key; None is c = 0."""
        return None

    def normalize(self, z: Rows, visible: Visible) -> Rows:
        log_w = self.log_weight(z)
        log_c = self.log_constant()
        m = rows.maximum(log_w, visible)
        if log_c is not None:
            m = jnp.maximum(m, jax.lax.stop_gradient(log_c))
        w = jnp.exp(rows.hide(log_w - m, visible, -jnp.inf))
        mass = rows.total(w, None)
        if log_c is not None:
            mass = mass + jnp.exp(log_c - m)
        return w * rows.reciprocal(mass)


class Threshold(Normalizer):
    """p_j = psi(z_j - tau), with tau such that the weights of a row sum to 1."""

    @abc.abstractmethod
    def weight(self, u: Array) -> Array:
        """psi(u): nondecreasing, 0 for u <= 0, elementwise."""

    @abc.abstractmethod
    def inverse(self, p: Array) -> Array:
        """psi^-1(p) for p > 0, elementwise."""

    def normalize(self, z: Rows, visible: Visible) -> Rows:
        z = rows.hide(z - rows.maximum(z, visible), visible)
        tau = roots.threshold(self, z, visible)
        return rows.hide(self.weight(z - tau), visible)


class Elementwise(Normalizer):
    """p_j = psi(z_j): every weight depends on its own score alone (and on n)."""

    @abc.abstractmethod
    def weight(self, z: Array) -> Array:
        """psi(z), elementwise."""

    def normalize(self, z: Rows, visible: Visible) -> Rows:
        return rows.hide(self.weight(z), visible)


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """Where scores of this dtype are computed: float32, or wider if they are."""
    return jnp.dtype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)


@functools.partial(jax.jit, static_argnames="axis")
def _normalize(normalizer: Normalizer, x: Array, where, *, axis: Axis) -> Array:
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise UserError(f"x must be real, got {x.dtype}")
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    out_dtype = x.dtype if is_float else jnp.result_type(float)
    axes = _axes(axis, x.ndim)
    z = x.astype(compute_dtype(out_dtype))
    visible = z != -jnp.inf
    if where is not None:
        visible = visible & jnp.broadcast_to(jnp.asarray(where, bool), x.shape)

    def to_rows(array: Array) -> Array:
        last = tuple(range(x.ndim - len(axes), x.ndim))
        moved = jnp.moveaxis(array, axes, last)
        return moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)

    lifted = jax.tree.map(
        lambda leaf: to_rows(_lift(leaf, x, axes, z.dtype)), normalizer
    )
    p = lifted.weights(to_rows(z), to_rows(visible))
    kept = [size for i, size in enumerate(x.shape) if i not in axes]
    p = p.reshape(*kept, *(x.shape[i] for i in axes))
    p = jnp.moveaxis(p, tuple(range(x.ndim - len(axes), x.ndim)), axes)
    return p.astype(out_dtype)


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    if any(not -ndim <= a < ndim for a in axes):
        raise UserError(f"axis {axis} is out of range for x with {ndim} dimensions")
    axes = tuple(a % ndim for a in axes)
    if len(set(axes)) < len(axes):
        raise UserError(f"axis {axis} names the same axis twice")
    return axes


def _lift(leaf: ArrayLike, x: Array, axes: tuple[int, ...], dtype) -> Array:
    """A parameter with the rank of x and size 1 along the rows."""
    leaf = jnp.asarray(leaf, dtype)
    shape = (1,) * (x.ndim - leaf.ndim) + leaf.shape
    allowed = [1 if i in axes else size for i, size in enumerate(x.shape)]
    fits = len(shape) == x.ndim and all(
        size in (1, most) for size, most in zip(shape, allowed, strict=True)
    )
    if not fits:
        raise UserError(
            f"a parameter of shape {leaf.shape} does not broadcast against x of shape "
            f"{x.shape} with size 1 along axis {axes}"
        )
    return leaf.reshape(shape)
