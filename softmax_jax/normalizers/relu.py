"""Rectified weights: a score that is not positive is not attended to."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Elementwise
from softmax_jax.normalizers.parameters import INFINITY, parameter, row_statistic

TAGS = frozenset({"sparse", "order_preserving", "separable", "symmetric_jacobian"})


class ReLU(Elementwise):
    """p_j = max(z_j, 0), with derivative 0 at 0."""

    formula = "max(z, 0)"
    paper = "arXiv 2104.07012"
    tags = TAGS

    def weight(self, z: Array) -> Array:
        return jax.nn.relu(z)


class ReLUPower(Elementwise):
    """p_j = max(z_j, 0)^power / n, with n the number of visible keys."""

    formula = "max(z, 0)^power / n"
    paper = "arXiv 2309.08586"
    tags = TAGS

    power: ArrayLike = parameter(2.0, bounds=(0.0, INFINITY), learned=False)
    log_n: Any = row_statistic()

    def rows(self, n, z, visible):
        return self.fill(log_n=jnp.log(n))

    def weight(self, z: Array) -> Array:
        return jnp.exp(self.log_weight(z))

    def log_weight(self, z: Array) -> Array:
        outside = z <= 0
        log_p = self.power * jnp.log(jnp.where(outside, 1, z)) - self.log_n
        return jnp.where(outside, -jnp.inf, log_p)


def relu(x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """p_j = max(z_j, 0): the weights of rectified linear attention (ReLA).

    Not normalized: ReLA divides the concatenated heads by their root mean square
    instead (`softmax_jax.nn.GatedRMSNorm`). A row of negative scores attends to nothing
    and passes no gradient. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> sj.relu(jnp.array([2.0, 0.5, -1.0])).tolist()
    [2.0, 0.5, 0.0]
    """
    return ReLU()(x, axis=axis, where=where)


def relu_power(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    power: ArrayLike = 2.0,
) -> Array:
    """p_j = max(z_j, 0)^power / n, with n the number of visible keys.

    power = 1 is ReLU over the sequence length, 2 its square. n is counted per row where
    the paper divides by the sequence length. `power` > 0 broadcasts against x with size
    1 along `axis`; masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.relu_power(jnp.array([2.0, 0.5, -1.0]))]
    [1.333, 0.083, 0.0]
    """
    return ReLUPower(power=power)(x, axis=axis, where=where)
