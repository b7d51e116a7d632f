"""t-softmax and r-softmax: softmax with weights that reach zero at a chosen depth."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers import order
from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import INFINITY, parameter, row_statistic

TAGS = frozenset({"simplex", "sparse", "shift_invariant", "order_preserving"})


class TSoftmax(Ratio):
    """p_j = w_j e^(z_j) / sum_i w_i e^(z_i) with w_j = max(z_j - max z + t, 0).

    Scores t or more below the largest weigh 0; t -> inf is softmax, with an error of
    the range of the scores over t.
    """

    formula = "w e^z / Σ w e^z, w = (z - max z + t)₊"
    paper = "arXiv 2304.05243"
    tags = TAGS

    t: ArrayLike = parameter(1.0, bounds=(0.0, INFINITY), learned=False)
    lowest: Any = row_statistic()

    def rows(self, n, z, visible):
        top = order.maximum(z, visible)
        return self.fill(lowest=top - self.t)

    def log_weight(self, z: Array) -> Array:
        return z

    def factor(self, z: Array) -> Array:
        return jax.nn.relu(z - self.lowest)


class RSoftmax(Ratio):
    """t-softmax that zeroes the share r of a row: t = max z - quantile_r(z) + eps.

    Of n visible scores floor(r (n - 1)) + 1 weigh (nearly) nothing, those at or below
    the quantile, so that r = 0 is not softmax. `detached` takes t as a constant, whose
    gradient is dropped, as the authors' release does.
    """

    formula = "w e^z / Σ w e^z, w = (z - quantile_r(z) + ε)₊"
    paper = "arXiv 2304.05243"
    tags = TAGS

    r: ArrayLike = parameter(0.5, bounds=(0.0, 1.0), closed=True, learned=False)
    eps: ArrayLike = parameter(1e-8, bounds=(0.0, INFINITY), learned=False)
    detached: bool = False
    anchor: Any = row_statistic()
    depth: Any = row_statistic()

    def rows(self, n, z, visible):
        anchor = order.quantile(z, visible, jnp.asarray(self.r))
        depth = jnp.zeros_like(anchor)
        if self.detached:
            top = order.maximum(z, visible)
            anchor, depth = top, jax.lax.stop_gradient(top - anchor)
        return self.fill(anchor=anchor, depth=depth)

    def log_weight(self, z: Array) -> Array:
        return z

    def factor(self, z: Array) -> Array:
        # eps comes last: added to a score it would be lost in rounding.
        return jax.nn.relu(z - self.anchor + self.depth + self.eps)


def t_softmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    t: ArrayLike = 1.0,
) -> Array:
    """p_j = w_j e^(z_j) / sum_i w_i e^(z_i) with w_j = max(z_j - max z + t, 0).

    Scores t or more below the largest weigh exactly 0; t -> inf is softmax, with an
    error of the range of the scores over t. `t` > 0 broadcasts against x with size 1
    along `axis`; masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> x = jnp.array([2.0, 1.5, 0.5])
    >>> [round(float(p), 3) for p in sj.t_softmax(x, t=1.0)]
    [0.767, 0.233, 0.0]
    """
    return TSoftmax(t=t)(x, axis=axis, where=where)


def r_softmax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    r: ArrayLike = 0.5,
    eps: ArrayLike = 1e-8,
    detached: bool = False,
) -> Array:
    """p_j = w_j e^(z_j) / sum_i w_i e^(z_i), w_j = max(z_j - quantile_r(z) + eps, 0).

    The quantile is linear between the visible scores, at position r (n - 1). At or
    below it lie floor(r (n - 1)) + 1 scores, whose weight is 0, or next to it for the
    one at the quantile: `r` is the share of zeros. r = 0 is therefore not softmax, for
    which call `softmax`; r = 1 is one-hot. With all scores equal the row is uniform.

    The gradient is exact, through the quantile too. `detached=True` is the gradient of
    the authors' release, where t = max z - quantile + eps is a constant. It grows like
    1 / eps where the largest scores are tied at the quantile; a larger `eps` is safer
    in training. `r` and `eps` broadcast against x with size 1 along `axis`; masks as in
    `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> x = jnp.array([3.0, 2.0, 1.0, 1.0])
    >>> [round(float(p), 4) for p in sj.r_softmax(x, r=0.5)]
    [0.8908, 0.1092, 0.0, 0.0]
    """
    return RSoftmax(r=r, eps=eps, detached=detached)(x, axis=axis, where=where)
