"""MultiMax: softmax of a map that can sharpen the tail and flatten the top."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.base import Axis, Ratio
from softmax_jax.normalizers.parameters import parameter


class MultiMax(Ratio):
    """p = softmax(z + c1 (b1-z)+ + c2 (z-d1)+ + c3 (b2-z)+^2 + c4 (z-d2)+^2).

    The slope of the map is 1 - c1 below b1 and 1 + c2 above d1: t_b = 1 - c1 > 1
    sharpens the tail, t_d = 1 + c2 < 1 flattens the top. `monotone` reads c1..c4 as
    1 - e^-c1, e^c2 - 1, -c3^2, c4^2 and d1 as max(b1, d1), so that the map never falls.
    """

    formula = "softmax(z + c₁(b₁-z)₊ + c₂(z-d₁)₊ + c₃(b₂-z)₊² + c₄(z-d₂)₊²)"
    paper = "arXiv 2406.01189, Eq. 6"
    tags = frozenset({"simplex"})

    c1: ArrayLike = parameter(0.0, per_head=False)
    c2: ArrayLike = parameter(0.0, per_head=False)
    c3: ArrayLike = parameter(0.0, per_head=False)
    c4: ArrayLike = parameter(0.0, per_head=False)
    b1: ArrayLike = parameter(0.0, per_head=False)
    d1: ArrayLike = parameter(0.0, per_head=False)
    b2: ArrayLike = parameter(0.0, per_head=False)
    d2: ArrayLike = parameter(0.0, per_head=False)
    monotone: bool = False

    def log_weight(self, z: Array) -> Array:
        c1, c2, c3, c4, d1 = self.c1, self.c2, self.c3, self.c4, self.d1
        if self.monotone:
            c1, c2 = -jnp.expm1(jnp.negative(c1)), jnp.expm1(c2)
            c3, c4 = -jnp.square(c3), jnp.square(c4)
            d1 = jnp.maximum(self.b1, d1)
        below, above = jax.nn.relu(self.b1 - z), jax.nn.relu(z - d1)
        far_below, far_above = jax.nn.relu(self.b2 - z), jax.nn.relu(z - self.d2)
        return z + c1 * below + c2 * above + c3 * far_below**2 + c4 * far_above**2


def multimax(
    x: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    c1: ArrayLike = 0.0,
    c2: ArrayLike = 0.0,
    c3: ArrayLike = 0.0,
    c4: ArrayLike = 0.0,
    b1: ArrayLike = 0.0,
    d1: ArrayLike = 0.0,
    b2: ArrayLike = 0.0,
    d2: ArrayLike = 0.0,
    monotone: bool = False,
) -> Array:
    """p = softmax(z + c1 (b1-z)+ + c2 (z-d1)+ + c3 (b2-z)+^2 + c4 (z-d2)+^2).

    The paper's temperatures are t_b = 1 - c1 below b1 and t_d = 1 + c2 above d1;
    c3 = c4 = 0 is its first order, all c = 0 softmax. One set of eight is learned per
    attention module or output layer, from small random values in the authors' release;
    it should not decay. Not shift invariant, and free values may make the map fall: c3
    > 0 lets very low scores win, c1 > 1 reverses those below b1. `monotone=True` reads
    c1..c4 as 1 - e^-c1, e^c2 - 1, -c3^2, c4^2 and d1 as max(b1, d1), which cannot. The
    map acts on finite scores before the mask. Parameters broadcast against x with size
    1 along `axis`; masks as in `softmax`.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> x = jnp.array([10.0, 8.0, -1.0])
    >>> [round(float(p), 3) for p in sj.multimax(x, c2=-0.8, d1=7.0)]
    [0.599, 0.401, 0.0]
    """
    return MultiMax(
        c1=c1, c2=c2, c3=c3, c4=c4, b1=b1, d1=d1, b2=b2, d2=d2, monotone=monotone
    )(x, axis=axis, where=where)
