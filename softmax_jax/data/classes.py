"""Many classes in a hierarchy: Gaussian clouds whose centres branch like a tree."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Rows(NamedTuple):
    """Points and the numbers of their classes."""

    features: Float[Array, "rows features"]
    labels: Int[Array, " rows"]


def centres(
    key: jax.Array, branches: Sequence[int], spreads: Sequence[float], features: int
) -> Float[Array, "classes features"]:
    """The centres of prod(branches) classes.

    At level i each node has `branches[i]` children, displaced from it by a Gaussian of
    deviation `spreads[i]` per feature. Siblings have neighbouring numbers.
    """
    found = jnp.zeros((1, features))
    for level, (count, spread) in enumerate(zip(branches, spreads, strict=True)):
        level_key = jax.random.fold_in(key, level)
        shape = (math.prod(branches[: level + 1]), features)
        moved = spread * jax.random.normal(level_key, shape)
        found = jnp.repeat(found, count, axis=0) + moved
    return found


def clouds(
    key: jax.Array, centres: Float[Array, "classes features"], each: int, noise: float
) -> Rows:
    """`each` points per class, at deviation `noise` per feature from its centre."""
    labels = jnp.repeat(jnp.arange(len(centres)), each)
    around = jax.random.normal(key, (len(labels), centres.shape[1]))
    return Rows(centres[labels] + noise * around, labels)
