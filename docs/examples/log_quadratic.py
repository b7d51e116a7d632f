"""A normalizer of one's own: polynomial tails instead of exponential ones.

softmax-jax check docs/examples/log_quadratic.py:LogQuadratic
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

import softmax_jax as sj


class LogQuadratic(sj.Ratio):
    """p_j = w(z_j) / sum_i w(z_i) with w(z) = 1 + (z / width)^2.

    Even in z: a score far below 0 weighs as much as one far above it.
    """

    tags = frozenset({"simplex"})

    width: ArrayLike = sj.parameter(1.0, bounds=(0.0, float("inf")))

    def log_weight(self, z: Array) -> Array:
        return jnp.log1p((z / self.width) ** 2)
