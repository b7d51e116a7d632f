"""Softpick: a rectified softmax whose negative scores still take mass."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio

EPSILON = 1e-8


class Softpick(Ratio):
    """p_j = max(e^(z_j) - 1, 0) / (eps + sum_i |e^(z_i) - 1|), eps = 1e-8.

    |e^z - 1| = e^max(z, 0) (1 - e^-|z|): the growing part and a factor in [0, 1].
    """

    formula = "max(e^z - 1, 0) / (ε + Σ |e^z - 1|)"
    paper = "arXiv 2504.20966"
    tags = frozenset({"subsimplex", "unit_interval", "sparse", "order_preserving"})

    def log_weight(self, z: Array) -> Array:
        return jnp.where(z > 0, z, 0)

    def factor(self, z: Array) -> Array:
        return jnp.where(z > 0, self.mass_factor(z), 0)

    def mass_factor(self, z: Array) -> Array:
        return -jnp.expm1(jnp.where(z > 0, -z, z))

    def log_constant(self) -> ArrayLike:
        return math.log(EPSILON)


def softpick(x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """p_j = max(e^(z_j) - 1, 0) / (eps + sum_i |e^(z_i) - 1|), eps = 1e-8.

    Scores of 0 and below weigh exactly 0 but count in the mass, so the weights sum to
    less than 1, and to 0 where every score is negative. Not shift invariant. Stable at
    any height of the scores, also below the -88 at which e^-m overflows in float32.
    Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.softpick(jnp.array([2.0, 1.0, -1.0]))]
    [0.731, 0.197, 0.0]
    """
    return Softpick()(x, axis=axis, where=where)
