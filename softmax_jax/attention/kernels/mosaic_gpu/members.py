"""Members of the catalogue whose own formula takes more of a GPU than they need."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from softmax_jax.attention.kernels.lean import squared_positive
from softmax_jax.attention.kernels.mosaic_gpu.forms import LOG2_E
from softmax_jax.attention.kernels.mosaic_gpu.instructions import reciprocal
from softmax_jax.attention.kernels.twins import FAR, Constants, Twin
from softmax_jax.normalizers.base import Elementwise, Normalizer, Threshold
from softmax_jax.normalizers.entmax import Entmax
from softmax_jax.normalizers.logistic_softmax import LogisticSoftmax
from softmax_jax.normalizers.parameters import parameter
from softmax_jax.normalizers.relu import ReLUPower
from softmax_jax.normalizers.sigmoid import Sigmoid

# A power of 2 next to which 1 is nothing, and whose reciprocal is a number.
LARGEST = 100.0
# What the bits of x and of 1 / x add up to, about.
REFLECTED = np.int32(0x7EF311C7)


class SquaredReLU(Elementwise):
    """max(z, 0)^2 / n: no transcendental."""

    inverse_n: Any = parameter(1.0)

    def weight(self, z: Array) -> Array:
        return squared_positive(z) * self.inverse_n


class PowerOfReLU(Elementwise):
    """max(z, 0)^power / n, with the derivatives written down."""

    power: Any = parameter(1.0)
    log2_n: Any = parameter(0.0)

    def weight(self, z: Array) -> Array:
        return _power(z, self.power, self.log2_n)


@jax.custom_jvp
def _power(z: Array, power: Array, log2_n: Array) -> Array:
    above = z > 0
    log = jnp.log2(jnp.where(above, z, 1))
    return jnp.where(above, jnp.exp2(power * log - log2_n), 0)


@_power.defjvp
def _power_jvp(primals, tangents):
    (z, power, log2_n), (dz, d_power, d_log2_n) = primals, tangents
    above = z > 0
    log = jnp.log2(jnp.where(above, z, 1))
    weight = jnp.where(above, jnp.exp2(power * log - log2_n), 0)
    slope = jnp.where(above, power * jnp.exp2((power - 1) * log - log2_n), 0)
    of_rows = log * d_power - d_log2_n
    return weight, slope * dz + weight * of_rows * (1 / LOG2_E)


class ShiftedSigmoid(Elementwise):
    """1 / (1 + 2^(start - z log2 e)): one operation before the power."""

    start: Any = parameter(0.0)

    def weight(self, z: Array) -> Array:
        return _sigmoid(z, self.start)


@jax.custom_jvp
def _sigmoid(z: Array, start: Array) -> Array:
    power = jnp.exp2(jnp.minimum(start - LOG2_E * z, LARGEST))
    return approximate_reciprocal(1 + power)


@_sigmoid.defjvp
def _sigmoid_jvp(primals, tangents):
    p = _sigmoid(*primals)
    dz, d_start = tangents
    return p, (p - p * p) * (dz - d_start * (1 / LOG2_E))


def approximate_reciprocal(x: Array) -> Array:
    """1 / x of 1 <= x <= 2^100, to 2.5e-4 of it, by the units that multiply.

    As integers, x and a guess add up to a constant; the guess is off by e = 1 - x r, at
    most 0.06, and r / (1 - e) is r (1 + e + e^2) but for the cube of that.
    """
    guess = REFLECTED - jax.lax.bitcast_convert_type(x, jnp.int32)
    r = jax.lax.bitcast_convert_type(guess, jnp.float32)
    e = 1 - x * r
    return r + r * (e + e * e)


class Logistic2(Twin):
    """x / (x + b), sigmoids of z / T, with x = 2^(y - m) and b = 2^-m.

    y = z slope is held below 2^60, where a sigmoid is 1; m is the largest y. It is in
    units of 2^m where b is held at its largest, next to which x is nothing.
    """

    slope: Any = parameter(1.0)  # log2(e) / T

    def log_weight(self, z: Array) -> Array:
        return jnp.minimum(z * self.slope, FAR)

    def unit(self, shift: Array) -> Array:
        return jnp.minimum(shift + FAR, 0)

    def share(self, log_w: Array, z: Array, shift: Array) -> tuple[Array, Array]:
        weight = _over_sum(log_w - shift, jnp.exp2(jnp.minimum(-shift, FAR)))
        return weight, weight


@jax.custom_jvp
def _over_sum(y: Array, b: Array) -> Array:
    """x / (x + b), x = 2^y; b / (x + b) is the slope over it."""
    x = jnp.exp2(y)
    return x * reciprocal(x + b)


@_over_sum.defjvp
def _over_sum_jvp(primals, tangents):
    (y, b), (dy, _) = primals, tangents
    x = jnp.exp2(y)
    inverse = reciprocal(x + b)
    weight = x * inverse
    return weight, weight * (b * inverse) * dy


class PowerAbove(Threshold):
    """(z - tau)+^power, entmax of alpha = 1 + 1 / power."""

    power: Any = parameter(2.0)

    def weight(self, u: Array) -> Array:
        return _power_above(u, self.power)

    def inverse(self, p: Array) -> Array:
        return jnp.exp2(jnp.log2(p) / self.power)


# The smallest number that the fast logarithm knows, and some.
TINY = 2.0**-120


@jax.custom_jvp
def _power_above(u: Array, power: Array) -> Array:
    """u u^(power - 1): the weight and its slope share two transcendentals."""
    above = u > TINY
    log = jnp.log2(jnp.where(above, u, 1))
    return jnp.where(above, u * jnp.exp2((power - 1) * log), 0)


@_power_above.defjvp
def _power_above_jvp(primals, tangents):
    (u, power), (du, d_power) = primals, tangents
    above = u > TINY
    log = jnp.log2(jnp.where(above, u, 1))
    below = jnp.where(above, jnp.exp2((power - 1) * log), 0)
    weight = u * below
    return weight, power * below * du + weight * log * d_power * (1 / LOG2_E)


def member_of(normalizer: Normalizer, known: Constants) -> Normalizer:
    """The same weights in fewer operations, given what is known of parameters."""
    if type(normalizer) is Entmax:
        return PowerAbove(power=1 / (normalizer.alpha - 1))
    if type(normalizer) is Sigmoid:
        return ShiftedSigmoid(start=-LOG2_E * normalizer.bias)
    if type(normalizer) is LogisticSoftmax:
        return Logistic2(slope=LOG2_E / normalizer.temperature)
    if not isinstance(normalizer, ReLUPower):
        return normalizer
    if dict(known).get("power") == 2:
        return SquaredReLU(inverse_n=jnp.exp(-normalizer.log_n))
    return PowerOfReLU(power=normalizer.power, log2_n=normalizer.log_n * LOG2_E)
