"""Members of the catalogue in units of log 2, and in as few operations as they need.

A twin is given scores that were multiplied by log2(e), which costs nothing where they
are multiplied anyway, and weighs with powers of 2. Its derivatives are measured in log
2 too: 2^x has the derivative 2^x, and the factor is put back where gradients are few.
"""

import functools
import numbers
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.lean import reciprocal
from softmax_jax.normalizers.base import Normalizer, Ratio
from softmax_jax.normalizers.multimax import MultiMax
from softmax_jax.normalizers.parameters import declared_parameters, parameter
from softmax_jax.normalizers.relu import ReLUPower
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax
from softmax_jax.normalizers.softpick import Softpick

LOG2_E = 1.4426950408889634
# Powers of 2 that far apart are as good as infinitely so, and their products finite.
FAR = 60.0


@jax.custom_jvp
def power2(x: Array) -> Array:
    """2^x with the derivative 2^x."""
    return jnp.exp2(x)


@power2.defjvp
def _power2_jvp(primals, tangents):
    power = jnp.exp2(primals[0])
    return power, power * tangents[0]


class Twin(Ratio):
    """A ratio in units of log 2.

    `least` is what the largest log weight of a row is at least.
    """

    least: ClassVar[float | None] = None

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array] | None:
        """W and M in units of 2^unit(shift); None if they are 2^(log_w - shift)."""
        return None

    def unit(self, shift: Array) -> Array:
        """Nondecreasing in the shift, which is the largest log weight of a row."""
        return shift

    def rounded(
        self, log_w: Array, z: Array, shift: Array
    ) -> tuple[Array, Array | None] | None:
        """W as bfloat16 and 2 W - M, or None where W = M; None if `share` will do.

        For vector units that compute with bfloat16, twice as many at a time.
        """
        return None


class Power2(Twin):
    """2^z / sum 2^z: every member whose log weight is linear in z."""

    def log_weight(self, z: Array) -> Array:
        return z


class Sigsoftmax2(Twin):
    """2^z sigmoid^power; e^c, common to all weights of a row, is left out."""

    power: Any = parameter(1.0)
    center: Any = parameter(0.0)

    def log_weight(self, z: Array) -> Array:
        center = jax.lax.stop_gradient(self.center)
        return z - center + self.power * _log2_sigmoid(z - self.center)


class SquaredSigsoftmax2(Twin):
    """x^2 / (x + b), sigsoftmax of power 1, with x = 2^(z - m) and b = 2^(c - m).

    m is the largest score, of which the weight is a rising function: one power, one
    reciprocal and no logarithm. It is in units of 2^(m - c), and of 2^(2 (m - c)) where
    b is held at its largest, next to which x is nothing.
    """

    center: Any = parameter(0.0)  # None is 0
    exact: bool = True

    def log_weight(self, z: Array) -> Array:
        return z

    def unit(self, shift: Array) -> Array:
        above = self._above(shift)
        return above + jnp.minimum(above + FAR, 0)

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array]:
        center = jnp.float32(0) if self.center is None else self.center
        weight = _over_sum(self.exact, log_w - shift, center, self._other(shift))
        return weight, weight

    def rounded(
        self, log_w: Array, z: Array, shift: Array
    ) -> tuple[Array, Array | None]:
        x = power2(log_w - shift).astype(jnp.bfloat16)
        return x * (x * (1 / (x + self._other(shift).astype(x.dtype)))), None

    def _above(self, shift: Array) -> Array:
        return shift if self.center is None else shift - self.center

    def _other(self, shift: Array) -> Array:
        """b, positive and finite."""
        return jnp.exp2(jnp.clip(-self._above(shift), -FAR, FAR))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _over_sum(exact: bool, y: Array, center: Array, b: Array) -> Array:
    """x^2 / (x + b), x = 2^y."""
    x = jnp.exp2(y)
    return x * (x * _reciprocal(exact, x + b))


@_over_sum.defjvp
def _over_sum_jvp(exact, primals, tangents):
    """b / (x + b) is sigmoid(c - z); of the unit there is no derivative."""
    y, _, b = primals
    dy, d_center, _ = tangents
    x = jnp.exp2(y)
    inverse = _reciprocal(exact, x + b)
    weight, part = x * (x * inverse), b * inverse
    return weight, weight * ((1 + part) * dy - part * d_center)


def _reciprocal(exact: bool, x: Array) -> Array:
    """Otherwise as the transcendental unit gives it, without corrections."""
    return 1 / x if exact else reciprocal(x, approx=True)


@jax.custom_jvp
def _log2_sigmoid(y: Array) -> Array:
    """log2 of sigmoid(y log 2)."""
    return jnp.minimum(y, 0) - _log2(1 + jnp.exp2(jnp.minimum(y, -y)))


@_log2_sigmoid.defjvp
def _log2_sigmoid_jvp(primals, tangents):
    """sigmoid(-y log 2): the reciprocal is a power as well."""
    (y,), (dy,) = primals, tangents
    falling = jnp.minimum(y, -y)
    log = _log2(1 + jnp.exp2(falling))
    slope = jnp.exp2(jnp.where(y > 0, falling, 0) - log)
    return jnp.minimum(y, 0) - log, slope * dy


def _log2(x: Array) -> Array:
    """log2 x by a product, where `jnp.log2` divides."""
    return LOG2_E * jnp.log(x)


class Softpick2(Twin):
    """max(d, 0) and |d| with d = 2^(z - m) - 2^-m: one power, and no product."""

    least = 0.0

    def log_weight(self, z: Array) -> Array:
        return z

    def log_constant(self) -> Any:
        return Softpick().log_constant()

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array]:
        return _positive_and_size(power2(z - shift) - jnp.exp2(-shift))

    def rounded(
        self, log_w: Array, z: Array, shift: Array
    ) -> tuple[Array, Array | None]:
        d = power2(z - shift) - jnp.exp2(-shift)
        return jnp.maximum(d.astype(jnp.bfloat16), 0), d


@jax.custom_jvp
def _positive_and_size(d: Array) -> tuple[Array, Array]:
    return jnp.maximum(d, 0), jnp.abs(d)


@_positive_and_size.defjvp
def _positive_and_size_jvp(primals, tangents):
    (d,), (dd,) = primals, tangents
    above = d > 0
    slopes = jnp.where(above, dd, 0), jnp.where(above, dd, -dd)
    return _positive_and_size(d), slopes


class MultiMax2(Twin):
    """MultiMax without terms that all scores of a row share: these weigh nothing."""

    c1: Any = parameter(0.0)
    c2: Any = parameter(0.0)
    c3: Any = parameter(0.0)
    c4: Any = parameter(0.0)
    b1: Any = parameter(0.0)
    d1: Any = parameter(0.0)
    b2: Any = parameter(0.0)
    d2: Any = parameter(0.0)

    def log_weight(self, z: Array) -> Array:
        factors = self.c1, self.c2, self.c3, self.c4
        return _bent(z, factors, (self.b1, self.d1, self.b2, self.d2))


Four = tuple[Array, Array, Array, Array]


@jax.custom_jvp
def _bent(z: Array, factors: Four, points: Four) -> Array:
    """z - c1 min(z, b1) + c2 max(z, d1) + c3 min(z - b2, 0)^2 + c4 max(z - d2, 0)^2.

    Its derivatives are those of MultiMax, which has other terms without z.
    """
    (c1, c2, c3, c4), (b1, d1, b2, d2) = factors, points
    low, high = jnp.minimum(z - b2, 0), jnp.maximum(z - d2, 0)
    straight = z - c1 * jnp.minimum(z, b1) + c2 * jnp.maximum(z, d1)
    return straight + c3 * (low * low) + c4 * (high * high)


@_bent.defjvp
def _bent_jvp(primals, tangents):
    """The slope is summed like the value, and shares its products."""
    z, (c1, c2, c3, c4), (b1, d1, b2, d2) = primals
    dz, (dc1, dc2, dc3, dc4), (db1, dd1, db2, dd2) = tangents
    falls, rises = z < b1, z > d1
    low, high = jnp.minimum(z - b2, 0), jnp.maximum(z - d2, 0)
    below, above = c3 * low, c4 * high
    straight = z - c1 * jnp.minimum(z, b1) + c2 * jnp.maximum(z, d1)
    value = straight + below * low + above * high
    half = below + above
    slope = jnp.where(falls, 1 - c1, 1) + jnp.where(rises, c2, 0) + (half + half)
    of_factors = jnp.maximum(b1 - z, 0) * dc1 + jnp.maximum(z - d1, 0) * dc2
    of_factors += (low * low) * dc3 + (high * high) * dc4
    of_points = jnp.where(falls, c1, 0) * db1 - jnp.where(rises, c2, 0) * dd1
    of_points -= (below + below) * db2 + (above + above) * dd2
    return value, slope * dz + of_factors + of_points


def _sigsoftmax(normalizer: Sigsoftmax) -> Twin:
    power, center = normalizer.k - 1, normalizer.c * LOG2_E
    return Sigsoftmax2(power=power, center=center)


def _multimax(normalizer: MultiMax) -> Twin:
    c1, c2, c3, c4, d1 = (
        getattr(normalizer, x) for x in ("c1", "c2", "c3", "c4", "d1")
    )
    if normalizer.monotone:
        c1, c2 = -jnp.expm1(-c1), jnp.expm1(c2)
        c3, c4 = -(c3 * c3), c4 * c4
        d1 = jnp.maximum(normalizer.b1, d1)
    return MultiMax2(
        c1=c1,
        c2=c2,
        c3=c3 / LOG2_E,
        c4=c4 / LOG2_E,
        b1=normalizer.b1 * LOG2_E,
        d1=d1 * LOG2_E,
        b2=normalizer.b2 * LOG2_E,
        d2=normalizer.d2 * LOG2_E,
    )


# What is rounded to bfloat16 may be a difference of powers; not what is exact.
TWINS: dict[type[Normalizer], Callable[[Any], Twin]] = {
    Sigsoftmax: _sigsoftmax,
    MultiMax: _multimax,
}
SHORT_TWINS = TWINS | {Softpick: lambda normalizer: Softpick2()}

# Values of parameters that make a formula shorter.
SHORTER: dict[type[Normalizer], dict[str, float]] = {
    Sigsoftmax: {"k": 2.0, "c": 0.0},
    ReLUPower: {"power": 2.0},
}
Constants = tuple[tuple[str, float], ...]


def constants(normalizer: Normalizer) -> Constants:
    """The parameters that are known to have such a value before they become arrays.

    They are part of what is compiled; no other values are, nor are learned ones.
    """
    declared = declared_parameters(normalizer)
    worth = SHORTER.get(type(normalizer), {}).items()
    return tuple(
        (name, value)
        for name, value in worth
        if not declared[name].learned and _is(getattr(normalizer, name), value)
    )


def _is(given: Any, value: float) -> bool:
    return isinstance(given, numbers.Real) and float(given) == value


def twin_of(normalizer: Normalizer, known: Constants, *, exact: bool) -> Twin | None:
    """The twin of a member, given what is known of its parameters, or None."""
    sure = dict(known)
    if type(normalizer) is Sigsoftmax and "k" in sure:
        center = None if "c" in sure else normalizer.c * LOG2_E
        return SquaredSigsoftmax2(center=center, exact=exact)
    twins = TWINS if exact else SHORT_TWINS
    make = twins.get(type(normalizer))
    return None if make is None else make(normalizer)
