"""Members of the catalogue whose own formula takes more of a GPU than they need."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.lean import squared_positive
from softmax_jax.attention.kernels.mosaic_gpu.forms import LOG2_E
from softmax_jax.attention.kernels.twins import Constants
from softmax_jax.normalizers.base import Elementwise, Normalizer, Threshold
from softmax_jax.normalizers.entmax import Entmax
from softmax_jax.normalizers.parameters import parameter
from softmax_jax.normalizers.relu import ReLUPower


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
    if not isinstance(normalizer, ReLUPower):
        return normalizer
    if dict(known).get("power") == 2:
        return SquaredReLU(inverse_n=jnp.exp(-normalizer.log_n))
    return PowerOfReLU(power=normalizer.power, log2_n=normalizer.log_n * LOG2_E)
