"""Links: increasing maps u = log w(z) of logits, whose softmax a loss is of.

A link is a ratio of the catalogue, or of a user, that is the softmax of mapped scores,
or one of the maps here, which serve output layers alone.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.catalogue import CATALOGUE, instance_of
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer, Ratio
from softmax_jax.normalizers.logistic_softmax import LogisticSoftmax
from softmax_jax.normalizers.parameters import INFINITY, parameter


class SoftCap(Ratio):
    """u = c tanh(z / c): logits near 0 as they are, and none beyond c."""

    formula = "softmax(c tanh(z/c))"
    paper = "arXiv 2408.00118"
    tags = frozenset({"simplex", "order_preserving"})

    cap: ArrayLike = parameter(30.0, bounds=(0.0, INFINITY), learned=False)

    def log_weight(self, z: Array) -> Array:
        return jnp.tanh(z / self.cap) * self.cap


class NormalizedReLU(Ratio):
    """u = log(max(z, 0) + eps): p_j = (max(z_j, 0) + eps) / sum of the same.

    eps keeps the loss of a logit below 0 finite; its size is ours.
    """

    formula = "(max(z, 0) + ε) / Σ (max(z, 0) + ε)"
    paper = "arXiv 1805.10829"
    tags = frozenset({"simplex"})

    eps: ArrayLike = parameter(1e-8, bounds=(0.0, INFINITY), learned=False)

    def log_weight(self, z: Array) -> Array:
        return jnp.log(jax.nn.relu(z) + self.eps)


class PLIF(Ratio):
    """u piecewise linear and increasing, with slopes softplus(raw).

    Its `intervals` share [-limit, limit] evenly; the outermost go on beyond it. `raw`
    is one number, or one per interval, and starts at slope 1: u = z.
    """

    formula = "softmax(f(z)), f piecewise linear with slopes softplus(raw)"
    paper = "arXiv 1902.08077"
    tags = frozenset({"simplex", "order_preserving"})

    raw: ArrayLike = parameter(math.log(math.e - 1))
    intervals: int = 64
    limit: float | int = 20.0

    def log_weight(self, z: Array) -> Array:
        slopes = jax.nn.softplus(jnp.asarray(self.raw, z.dtype))
        slopes = jnp.broadcast_to(slopes, (self.intervals,))
        width = 2 * self.limit / self.intervals
        starts = width * (jnp.cumsum(slopes) - slopes) - self.limit
        place = jnp.floor((z + self.limit) / width)
        place = jnp.clip(place, 0, self.intervals - 1)
        at = jax.lax.stop_gradient(place).astype(jnp.int32)
        return starts[at] + slopes[at] * (z - (width * place - self.limit))


# What a spec may name: a row of the catalogue, or one of these, which go first.
LINKS: dict[str, type[Normalizer]] = {
    **{name: row.cls for name, row in CATALOGUE.items()},
    "sigmoid": LogisticSoftmax,
    "relu": NormalizedReLU,
    "soft_cap": SoftCap,
    "plif": PLIF,
}
EXTRAS = ("factor", "mass_factor", "log_constant", "multiplier", "rows")


def parse_link(spec: str | Normalizer) -> Ratio:
    """The link that a spec string describes; an instance is returned as it is.

    >>> parse_link("soft_cap(cap=20)")
    SoftCap(cap=20)
    """
    link = instance_of(spec, "link", Normalizer, LINKS)
    cls = type(link)
    is_link = isinstance(link, Ratio) and all(
        getattr(cls, extra) is getattr(Ratio, extra) for extra in EXTRAS
    )
    if not is_link:
        raise UserError(
            "link must be a softmax of mapped scores, such as multimax, sigsoftmax, "
            f"soft_cap or plif, got {cls.__name__}"
        )
    return link


def for_tiles(link: Ratio, dtype: jnp.dtype) -> Ratio:
    """The link with leaves that broadcast against any tile of logits."""
    vector = (link.intervals,) if isinstance(link, PLIF) else ()

    def lift(leaf: ArrayLike) -> Array:
        array = jnp.asarray(leaf, dtype)
        if array.size == 1:
            return array.reshape(())
        if array.shape != vector:
            raise UserError(
                f"link: a parameter of {type(link).__name__} must be one number for "
                f"all logits, got shape {array.shape}"
            )
        return array

    return jax.tree.map(lift, link)
