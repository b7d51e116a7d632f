"""Sigmoid attention weights: every key is weighed on its own."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Elementwise
from softmax_jax.normalizers.parameters import parameter


class Sigmoid(Elementwise):
    """p_j = sigmoid(z_j + b - log n), with n the number of visible keys.

    At b = 0 and z = 0 the weights are 1 / (n + 1): the row starts with a mass near 1.
    """

    formula = "σ(z + b - log n)"
    paper = "arXiv 2409.04431"
    tags = frozenset({"unit_interval", "order_preserving", "separable"})

    bias: ArrayLike = parameter(0.0)

    def rows(self, n, z, visible):
        return self.fill(bias=self.bias - jnp.log(n))

    def weight(self, z: Array) -> Array:
        return jax.nn.sigmoid(z + self.bias)

    def log_weight(self, z: Array) -> Array:
        return jax.nn.log_sigmoid(z + self.bias)


def sigmoid(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    bias: ArrayLike = 0.0,
) -> Array:
    """p_j = sigmoid(z_j + b - log n), with n the number of visible keys.

    The weights do not sum to 1. The paper's constant -log(length) is here the visible
    count of each row, so padding changes nothing; `bias` is added to it and broadcasts
    against x with size 1 along `axis`. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.sigmoid(jnp.array([2.0, 0.0, -2.0]))]
    [0.711, 0.25, 0.043]
    """
    return Sigmoid(bias=bias)(x, axis=axis, where=where)
