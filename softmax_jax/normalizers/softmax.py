"""Softmax with a temperature: the member every other one is compared with."""

from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import INFINITY, parameter


class Softmax(Ratio):
    """p_j = e^(z_j / T) / sum_i e^(z_i / T)."""

    formula = "e^(z/T) / Σ e^(z/T)"
    paper = "Boltzmann 1868; Bridle 1990"
    tags = frozenset(
        {"simplex", "shift_invariant", "order_preserving", "symmetric_jacobian"}
    )

    temperature: ArrayLike = parameter(1.0, bounds=(0.0, INFINITY), learned=False)

    def log_weight(self, z: Array) -> Array:
        return z / self.temperature

    def bound(self, largest: float) -> ArrayLike:
        return largest / self.temperature


def softmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    """p_j = e^(z_j / T) / sum_i e^(z_i / T).

    `jax.nn.softmax` with a temperature T > 0 that broadcasts against x with size 1
    along `axis`. Masked entries (`where` False, or a score of -inf) get exactly 0 and
    no gradient; a row with none left is all zeros.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> p = sj.softmax(jnp.array([1.0, 2.0, 3.0]), temperature=0.5)
    >>> [round(float(w), 3) for w in p]
    [0.016, 0.117, 0.867]
    """
    return Softmax(temperature=temperature)(x, axis=axis, where=where)
