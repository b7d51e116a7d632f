"""The contract: a normalizer is a small class, and its family does the rest.

A member of a family writes elementwise mathematics in the scores z and in its own
fields, in plain jnp. Masks, row statistics, stability, axes, dtypes and derivatives
are written here, once.
"""

import abc
import functools
import math
from typing import ClassVar, NamedTuple, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from softmax_jax.errors import UserError
from softmax_jax.normalizers import roots, rows
from softmax_jax.normalizers.parameters import Parametrised, parameter, row_statistic
from softmax_jax.normalizers.rows import Rows, Statistic, Visible

Axis = int | tuple[int, ...] | None


class Level(NamedTuple):
    """The solution of a row: its unknown, measured from the row's top.

    Ratio: the mass in units of e^top, with top the largest log weight. Threshold: tau
    below top, the largest score. Kept apart, because their sum would lose digits.
    """

    top: Statistic
    unknown: Statistic


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(parameter, row_statistic),
)
class Normalizer(Parametrised, abc.ABC):
    """p = N(z): maps the visible scores of a row to weights.

    Fields declared with `parameter` are differentiable leaves, all others are static.
    An instance is callable with the manners of `jax.nn.softmax`. A family says how a
    row is solved for its one unknown, and what every score weighs at that solution.
    """

    tags: ClassVar[frozenset[str]] = frozenset()

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
        self.check()
        return _normalize(self, jnp.asarray(x), where, axis=axis, log=False)

    def log(
        self,
        x: Shaped[ArrayLike, "*shape"],
        *,
        axis: Axis = -1,
        where: Bool[ArrayLike, "..."] | None = None,
    ) -> Float[Array, "*shape"]:
        """The logarithms of the weights, finite where these underflow.

        -inf without a gradient where a score is masked or weighs exactly 0.
        """
        self.check()
        return _normalize(self, jnp.asarray(x), where, axis=axis, log=True)

    def multiplier(self, n: Statistic) -> Array | None:
        """What the scores are multiplied by, given the visible count n; None is 1."""
        return None

    def rows(self, n: Statistic, z: Rows, visible: Visible) -> "Normalizer":
        """This normalizer with what depends on the row filled in."""
        return self

    @abc.abstractmethod
    def solve(self, z: Rows, visible: Visible) -> Level:
        """The unknown of each row; masked scores are 0 already."""

    @abc.abstractmethod
    def weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        """The weights at that solution."""

    @abc.abstractmethod
    def log_weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        """The logarithms of the weights at that solution."""

    def prepare(self, z: Rows, visible: Visible) -> tuple["Normalizer", Rows]:
        """The normalizer of these rows, and the scores as it wants them."""
        n = rows.visible_count(z, visible)
        z = rows.hide(z, visible)
        scale = self.multiplier(n)
        if scale is not None:
            z = scale * z
        return self.rows(n, z, visible), z

    def weights(self, z: Rows, visible: Visible) -> Rows:
        """The weights of rows of raw scores: the whole pipeline, in one dtype."""
        normalizer, z = self.prepare(z, visible)
        return normalizer.weigh(z, visible, normalizer.solve(z, visible))

    def log_weights(self, z: Rows, visible: Visible) -> Rows:
        """The logarithms of the weights of rows of raw scores."""
        normalizer, z = self.prepare(z, visible)
        return normalizer.log_weigh(z, visible, normalizer.solve(z, visible))


class Ratio(Normalizer):
    """p_j = w(z_j) f(z_j) / (c + sum_i w(z_i) g(z_i)): a weight over its row's mass.

    w is positive and given by its logarithm; f and g are bounded, may be 0, and are 1
    unless a member says otherwise. Computed with exp(log w - m), m the largest log w or
    log c of the row, so that nothing overflows; a mass of exactly 0 gives zero weights.
    """

    @abc.abstractmethod
    def log_weight(self, z: Array) -> Array:
        """log w(z), elementwise."""

    def factor(self, z: Array) -> Array | None:
        """f(z) >= 0, elementwise; None is 1."""
        return None

    def mass_factor(self, z: Array) -> Array | None:
        """g(z) >= 0, elementwise; as f unless it is said."""
        return self.factor(z)

    def log_constant(self) -> ArrayLike | None:
        """log c, a mass that belongs to no key; None is c = 0."""
        return None

    def bound(self, largest: float) -> ArrayLike:
        """What |log w(z)| is at most where |z| <= largest, which may be infinite.

        Where that is a small number, fused kernels look for no maximum.
        """
        return math.inf

    def solve(self, z: Rows, visible: Visible) -> Level:
        log_w = rows.hide(self.log_weight(z), visible, -jnp.inf)
        log_c = self.log_constant()
        m = rows.maximum(log_w, None)
        if log_c is not None:
            m = jnp.maximum(m, jax.lax.stop_gradient(log_c))
        w = jnp.exp(log_w - m)
        mass = rows.total(_times(w, self.mass_factor(z)), None)
        if log_c is not None:
            mass = mass + jnp.exp(log_c - m)
        return Level(m, mass)

    def weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        w = jnp.exp(rows.hide(self.log_weight(z), visible, -jnp.inf) - level.top)
        return _times(w, self.factor(z)) * rows.reciprocal(level.unknown)

    def log_weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        log_p = (
            self.log_weight(z) - level.top + rows.log(rows.reciprocal(level.unknown))
        )
        factor = self.factor(z)
        if factor is not None:
            log_p = log_p + rows.log(factor)
        return rows.hide(log_p, visible, -jnp.inf)


class Threshold(Normalizer):
    """p_j = psi(z_j - tau), with tau such that the weights of a row sum to 1."""

    @abc.abstractmethod
    def weight(self, u: Array) -> Array:
        """psi(u): nondecreasing, 0 for u <= 0, elementwise."""

    @abc.abstractmethod
    def inverse(self, p: Array) -> Array:
        """psi^-1(p) for p > 0, elementwise."""

    def log_weight(self, u: Array) -> Array:
        """log psi(u), elementwise; -inf for u <= 0."""
        return rows.log(self.weight(u))

    def solve(self, z: Rows, visible: Visible) -> Level:
        m = rows.maximum(z, visible)
        return Level(m, roots.threshold(self, self._below(m, z, visible)))

    def weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        return self.weight(self._below(level.top, z, visible) - level.unknown)

    def log_weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        return self.log_weight(self._below(level.top, z, visible) - level.unknown)

    def _below(self, top: Statistic, z: Rows, visible: Visible) -> Rows:
        """z - top; where hidden or far below, left of every threshold and finite."""
        left = jax.lax.stop_gradient(roots.lowest(self, top)) - 1
        return rows.hide(jnp.maximum(z - top, left), visible, left)


class Elementwise(Normalizer):
    """p_j = psi(z_j): every weight depends on its own score alone (and on n)."""

    @abc.abstractmethod
    def weight(self, z: Array) -> Array:
        """psi(z), elementwise."""

    def log_weight(self, z: Array) -> Array:
        """log psi(z), elementwise; -inf where psi is 0."""
        return rows.log(self.weight(z))

    def solve(self, z: Rows, visible: Visible) -> Level:
        """There is no unknown; 0 stands for it."""
        zero = jnp.zeros_like(z[..., :1])
        return Level(zero, zero)

    def weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        return rows.hide(self.weight(z), visible)

    def log_weigh(self, z: Rows, visible: Visible, level: Level) -> Rows:
        return rows.hide(self.log_weight(z), visible, -jnp.inf)


def _times(w: Array, factor: Array | None) -> Array:
    return w if factor is None else w * factor


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """Where scores of this dtype are computed: float32, or wider if they are."""
    return jnp.dtype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)


@functools.partial(jax.jit, static_argnames=("axis", "log"))
def _normalize(
    normalizer: Normalizer, x: Array, where, *, axis: Axis, log: bool
) -> Array:
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
    weights = lifted.log_weights if log else lifted.weights
    p = weights(to_rows(z), to_rows(visible))
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
