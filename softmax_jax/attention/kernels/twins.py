"""Members of the catalogue in units of log 2, and in as few operations as they need.

A twin is given scores that were multiplied by log2(e), which costs nothing where they
are multiplied anyway, and weighs with powers of 2. Its derivatives are measured in log
2 too: 2^x has the derivative 2^x, and the factor is put back where gradients are few.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.normalizers.base import Normalizer, Ratio
from softmax_jax.normalizers.parameters import parameter
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax
from softmax_jax.normalizers.softpick import Softpick

LOG2_E = 1.4426950408889634


@jax.custom_jvp
def power2(x: Array) -> Array:
    """2^x with the derivative 2^x."""
    return jnp.exp2(x)


@power2.defjvp
def _power2_jvp(primals, tangents):
    power = jnp.exp2(primals[0])
    return power, power * tangents[0]


class Twin(Ratio):
    """A ratio in units of log 2."""

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array] | None:
        """W and M in units of 2^shift; None if they are 2^(log_w - shift)."""
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
        y = z - self.center
        return y + self.power * _log2_sigmoid(y)


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

    def log_weight(self, z: Array) -> Array:
        return jnp.maximum(z, 0)

    def log_constant(self) -> Any:
        return Softpick().log_constant()

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array]:
        return _positive_and_size(power2(z - shift) - jnp.exp2(-shift))


@jax.custom_jvp
def _positive_and_size(d: Array) -> tuple[Array, Array]:
    return jnp.maximum(d, 0), jnp.abs(d)


@_positive_and_size.defjvp
def _positive_and_size_jvp(primals, tangents):
    (d,), (dd,) = primals, tangents
    above = d > 0
    slopes = jnp.where(above, dd, 0), jnp.where(above, dd, -dd)
    return _positive_and_size(d), slopes


def _sigsoftmax(normalizer: Sigsoftmax) -> Twin:
    power, center = normalizer.k - 1, normalizer.c * LOG2_E
    return Sigsoftmax2(power=power, center=center)


# What is rounded to bfloat16 may be a difference of powers; not what is exact.
TWINS: dict[type[Normalizer], Callable[[Any], Twin]] = {Sigsoftmax: _sigsoftmax}
SHORT_TWINS = TWINS | {Softpick: lambda normalizer: Softpick2()}
