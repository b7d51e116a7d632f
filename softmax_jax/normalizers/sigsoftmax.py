"""Sigsoftmax: softmax times a sigmoid, to break the softmax bottleneck."""

import jax
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import INFINITY, parameter


class Sigsoftmax(Ratio):
    """p_j = w(z_j) / sum_i w(z_i) with w(z) = e^z sigmoid(z - c)^(k - 1).

    k = 2 and c = 0 is sigsoftmax, k = 1 softmax. The slope of log w is k far below c
    and 1 far above it.
    """

    formula = "e^z σ(z-c)^(k-1) / Σ e^z σ(z-c)^(k-1)"
    paper = "arXiv 1805.10829 (k = 2, c = 0); Parthiban et al., AAAI 2021 (k, c)"
    tags = frozenset({"simplex", "order_preserving"})

    k: ArrayLike = parameter(2.0, bounds=(0.0, INFINITY), learned=False)
    c: ArrayLike = parameter(0.0, learned=False)

    def log_weight(self, z: Array) -> Array:
        return z + (self.k - 1) * jax.nn.log_sigmoid(z - self.c)


def sigsoftmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    k: ArrayLike = 2.0,
    c: ArrayLike = 0.0,
) -> Array:
    """p_j = w(z_j) / sum_i w(z_i) with w(z) = e^z sigmoid(z - c)^(k - 1).

    log w is not linear in z, so the log-probabilities of a head of width d can have a
    rank above d + 1. Not shift invariant: at k = 2, z + a tends to softmax(z) for
    a -> inf and to softmax(2 z) for a -> -inf. The shift for stability is taken after
    the sigmoid, never before it. The generalised form is the softmax of
    k (z - c) + c - (k - 1) softplus(z - c); `k` > 0 and `c` broadcast against x with
    size 1 along `axis`. Masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> [round(float(p), 3) for p in sj.sigsoftmax(jnp.array([-1.0, 0.0, 1.0]))]
    [0.038, 0.193, 0.768]
    """
    return Sigsoftmax(k=k, c=c)(x, axis=axis, where=where)
