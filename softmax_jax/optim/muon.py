"""Muon for the matrices of the blocks: a momentum whose singular values are all 1."""

import math
from typing import Any

import jax
import optax
from optax import contrib

PyTree = Any

# Axes that a kernel is a matrix over, from (inputs) to (outputs), by the end of its
# name. They count from the last: kernels of many layers may be stacked along the first.
# Embedding and head, whose rows are tokens, and everything else go to Adam.
INPUTS_AND_OUTPUTS = {
    "query.kernel": ((-3,), (-2, -1)),
    "key.kernel": ((-3,), (-2, -1)),
    "value.kernel": ((-3,), (-2, -1)),
    "out.kernel": ((-3, -2), (-1,)),
    "gate.kernel": ((-2,), (-1,)),
    "up.kernel": ((-2,), (-1,)),
    "down.kernel": ((-2,), (-1,)),
}
# The root mean square of an update of AdamW, which Muon's are scaled to (arXiv
# 2502.16982), so that both take the same learning rate and weight decay.
RMS = 0.2


def muon_and(
    other: optax.GradientTransformation, beta: float, params: PyTree
) -> optax.GradientTransformation:
    """Orthogonalized momentum for the blocks' matrices, `other` for all else."""
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "other" if _axes(path) is None else "muon", params
    )
    muon = optax.chain(
        contrib.scale_by_muon(beta=beta, weight_dimension_numbers=_dimensions),
        optax.stateless(_like_adam),
    )
    return optax.partition({"muon": muon, "other": other}, labels)


def _axes(path: tuple[Any, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    name = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
    return INPUTS_AND_OUTPUTS.get(".".join(name.split(".")[-2:]))


def _dimensions(params: PyTree) -> PyTree:
    """What optax asks for: the axes of each matrix."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: contrib.MuonDimensionNumbers(*(_axes(path) or ())), params
    )


def _like_adam(updates: PyTree, _: PyTree | None = None) -> PyTree:
    """An orthogonal n x m matrix has a root mean square of 1 / sqrt(max(n, m))."""

    def scale(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        sides = (math.prod(update.shape[i] for i in side) for side in _axes(path) or ())
        return update * (RMS * math.sqrt(max(sides)))

    return jax.tree_util.tree_map_with_path(scale, updates)
