"""Sigsoftmax: softmax times a sigmoid, to break the softmax bottleneck."""

import jax
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio


class Sigsoftmax(Ratio):
    """p_j = e^(z_j) sigmoid(z_j) / sum_i e^(z_i) sigmoid(z_i)."""

    formula = "e^z σ(z) / Σ e^z σ(z)"
    paper = "arXiv 1805.10829"
    tags = frozenset({"simplex", "order_preserving"})

    def log_weight(self, z: Array) -> Array:
        return z + jax.nn.log_sigmoid(z)


def sigsoftmax(
    x: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """p_j = e^(z_j) sigmoid(z_j) / sum_i e^(z_i) sigmoid(z_i).

    The logarithm is not linear in z, so the log-probabilities of a head of width d can
    have a rank above d + 1. Not shift invariant: z + c tends to softmax(z) for c -> inf
    and to softmax(2 z) for c -> -inf. The shift for stability is taken after the
    sigmoid, never before it. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.sigsoftmax(jnp.array([-1.0, 0.0, 1.0]))]
    [0.038, 0.193, 0.768]
    """
    return Sigsoftmax()(x, axis=axis, where=where)
