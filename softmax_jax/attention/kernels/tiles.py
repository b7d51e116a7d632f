"""What any kernel does with one tile of scores; nothing here knows a backend.

A tile of products s = q.k becomes scores, weights W and masses M:

    z = a * (tanh s or s) + b * bias,   (W, M) = weigh(z, shift)

`shift` is what is known of a row before it is weighed: the largest log weight of a
ratio, or 0 where it is bounded; the threshold tau of a threshold normalizer; nothing if
weights are elementwise.
With W and M, and cotangents of the two that a row makes of those of its output, every
family has the same derivative; it is taken of the member's own methods, here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.lean import lean
from softmax_jax.attention.kernels.twins import LOG2_E, Twin, power2
from softmax_jax.normalizers.base import Elementwise, Normalizer, Ratio, Threshold

# Of what is masked: far below every log weight, and finite, so that it can be the
# largest of a row for a while.
LOWEST = -(2.0**126)

# By name, numbers that belong to a row and broadcast against a tile. "score" and "bias"
# multiply; the others are leaves of the normalizer, by their place.
Rows = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Tile:
    """The rule of a kernel: static, and equal for equal computations."""

    tree: Any  # how leaves make the normalizer
    leaves: int
    family: type[Normalizer]
    capped: bool = False
    exact: bool = True  # False where weights are rounded to bfloat16
    bounded: bool = False  # log weights are small enough to have the shift 0

    @property
    def unit(self) -> float:
        """What derivatives to z are to be multiplied by."""
        return 1 / LOG2_E if self.family is Twin else 1.0

    @property
    def has_mass(self) -> bool:
        """Whether a row divides by what its scores add up to."""
        return self.family is not Elementwise

    @property
    def is_ratio(self) -> bool:
        return self.family in (Ratio, Twin)

    @property
    def has_maximum(self) -> bool:
        """Whether the shift of a row is found while it is weighed."""
        return self.is_ratio and not self.bounded

    def constant_shift(self, log_c: Array | None) -> Array | None:
        """The shift of rows that are bounded; None is 0."""
        return None if log_c is None or self.has_maximum else jnp.maximum(log_c, 0)

    def normalizer(self, rows: Rows) -> Any:
        return self.tree.unflatten([rows[str(i)] for i in range(self.leaves)])

    def score(self, s: Array, bias: Array | None, rows: Rows) -> Array:
        z = jnp.tanh(s) if self.capped else s
        if "score" in rows:
            z = rows["score"] * z
        if bias is not None:
            z = z + (rows["bias"] * bias if "bias" in rows else bias)
        return z

    def log_weight(self, z: Array, rows: Rows) -> Array:
        return self.lean(self.normalizer(rows).log_weight)(z)

    def lean(self, f: Callable) -> Callable:
        return lean(f, exact=self.exact)

    def exp(self, x: Array) -> Array:
        return power2(x) if self.family is Twin else jnp.exp(x)

    def decay(self, before: Array, shift: Array, rows: Rows) -> Array:
        """What is measured in units of one shift, in those of a later one."""
        normalizer = self.normalizer(rows)
        if isinstance(normalizer, Twin):
            before, shift = normalizer.unit(before), normalizer.unit(shift)
        return self.exp(before - shift)

    @property
    def least(self) -> float:
        """What a running maximum starts from."""
        least = getattr(self.tree.unflatten([None] * self.leaves), "least", None)
        return LOWEST if least is None else least

    def rounded(
        self, log_w: Array, z: Array, shift: Array, rows: Rows
    ) -> tuple[Array, Array | None] | None:
        """W as bfloat16 and 2 W - M, or None where W = M; None if `share` will do."""
        normalizer = self.normalizer(rows)
        if not isinstance(normalizer, Twin):
            return None
        return normalizer.rounded(log_w, z, shift)

    def share(
        self, log_w: Array, z: Array, shift: Array, rows: Rows
    ) -> tuple[Array, Array]:
        """W and M of a ratio in units of e^shift; one array if they are the same."""
        normalizer = self.normalizer(rows)
        kind = type(normalizer)
        if isinstance(normalizer, Twin):
            shared = normalizer.share(log_w, z, jnp.asarray(shift, log_w.dtype))
            if shared is not None:
                return shared
        e = self.exp(log_w - shift)
        if kind.factor is Ratio.factor and kind.mass_factor is Ratio.mass_factor:
            return e, e
        weight = _times(e, self.lean(normalizer.factor)(z))
        if kind.mass_factor is Ratio.mass_factor:
            return weight, weight
        return weight, _times(e, self.lean(normalizer.mass_factor)(z))

    def weigh(
        self, z: Array, visible: Array | None, shift: Any, rows: Rows
    ) -> tuple[Array, Array]:
        """W and M; what is not visible is neither weighed nor differentiated."""
        z = hide(z, visible, 0.0)
        if self.is_ratio:
            log_w = hide(self.log_weight(z, rows), visible, LOWEST)
            shift = jnp.float32(0) if shift is None else shift
            weight, mass = self.share(log_w, z, shift, rows)
            if visible is None or weight is mass:
                return weight, mass
            return hide(weight, visible, 0.0), hide(mass, visible, 0.0)
        u = z if shift is None else z - shift
        weight = hide(self.lean(self.normalizer(rows).weight)(u), visible, 0.0)
        return weight, weight

    def slopes(
        self, z: Array, visible: Array | None, shift: Any, rows: Rows
    ) -> tuple[Array, Array]:
        """psi' of a threshold normalizer, as W and M."""
        f = self.lean(self.normalizer(rows).weight)
        _, slope = jax.jvp(f, (hide(z, visible, 0.0) - shift,), (jnp.ones_like(z),))
        slope = hide(slope, visible, 0.0)
        return slope, slope


def hide(x: Array, visible: Array | None, fill: float) -> Array:
    return x if visible is None else jnp.where(visible, x, jnp.asarray(fill, x.dtype))


def family_of(normalizer: Normalizer) -> type[Normalizer]:
    return next(
        f for f in (Twin, Ratio, Threshold, Elementwise) if isinstance(normalizer, f)
    )


def linear(normalizer: Normalizer) -> tuple[Array, Array] | None:
    """(a, b) if normalizer is a ratio with log w(z) = a z + b and nothing else.

    a and b have the shapes of its leaves, and derivatives to them.
    """
    if not isinstance(normalizer, Ratio):
        return None
    kind = type(normalizer)
    if kind.factor is not Ratio.factor or kind.mass_factor is not Ratio.mass_factor:
        return None
    zero = jnp.zeros((1,) * 5, jnp.float32)

    def slope(z):
        return jax.jvp(normalizer.log_weight, (z,), (jnp.ones_like(z),))[1]

    if depends(slope, zero):
        return None
    return slope(zero), jnp.asarray(normalizer.log_weight(zero))


def reads_scores(normalizer: Normalizer, n: Array) -> bool:
    """Whether what the normalizer fills in of a row depends on its scores."""
    return depends(lambda z: normalizer.rows(n, z, None), jnp.zeros((1,) * 5))


def depends(f: Any, x: Array) -> bool:
    """Whether a result of f is computed from x."""
    jaxpr = jax.make_jaxpr(f)(x).jaxpr
    tainted = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(_is_in(atom, tainted) for atom in eqn.invars):
            tainted |= set(eqn.outvars)
    return any(_is_in(atom, tainted) for atom in jaxpr.outvars)


def _is_in(atom: Any, tainted: set[Any]) -> bool:
    return isinstance(atom, jax.extend.core.Var) and atom in tainted


def _times(e: Array, factor: ArrayLike | None) -> Array:
    return e if factor is None else e * jnp.asarray(factor, e.dtype)
