"""Softmax with a sink: a constant mass that lets a row attend to nothing."""

from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import parameter


class Softmax1(Ratio):
    """p_j = e^(z_j) / (e^b + sum_i e^(z_i)) with the sink logit b.

    b = 0 is softmax1, or softmax off by one; b learned per head is an attention sink.
    The sink is a mass: attention neither scales nor soft-caps it.
    """

    formula = "e^z / (e^b + Σ e^z)"
    paper = "Miller 2023 (b = 0); gpt-oss 2025 (learned b)"
    tags = frozenset({"subsimplex", "order_preserving", "symmetric_jacobian"})

    sink: ArrayLike = parameter(0.0)

    def log_weight(self, z: Array) -> Array:
        return z

    def log_constant(self) -> ArrayLike:
        return self.sink

    def bound(self, largest: float) -> ArrayLike:
        return largest


def softmax1(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    sink: ArrayLike = 0.0,
) -> Array:
    """p_j = e^(z_j) / (e^b + sum_i e^(z_i)) with the sink logit b.

    The weights sum to less than 1: the rest went to the sink. The same as softmax over
    the row with one more score b, that entry dropped; b -> -inf is softmax. Stable at
    any height of the scores, since the sink takes part in the maximum. `sink`
    broadcasts against x with size 1 along `axis`; masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.softmax1(jnp.array([5.0, 4.0, -3.0]))]
    [0.727, 0.268, 0.0]
    """
    return Softmax1(sink=sink)(x, axis=axis, where=where)
