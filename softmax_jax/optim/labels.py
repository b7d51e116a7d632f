"""What kind of parameter each leaf is."""

from typing import Any

import jax
from flax import nnx

from softmax_jax.nn import NormalizerParam

PyTree = Any

# Parameters that are added to something, whatever their rank: decay is for matrices.
ADDED = ("bias", "positions", "class_token")


def labels(params: PyTree) -> PyTree:
    """The kind of each variable of an nnx state, which decides its rule.

    "normalizer" for a normalizer's own parameters, else "decay" for matrices and
    "no_decay" for gains, biases and positions. The axis that blocks are stacked along
    does not make a matrix of a gain. The result has a word in the place of every
    variable: a prefix of `params`, which is what optax takes as labels.
    """

    def label(path: tuple[Any, ...], variable: nnx.Variable) -> str:
        if isinstance(variable, NormalizerParam):
            return "normalizer"
        names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        rank = variable.ndim - _are_stacked(names)
        return "decay" if rank >= 2 and names[-1] not in ADDED else "no_decay"

    return jax.tree_util.tree_map_with_path(
        label, params, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )


def _are_stacked(names: list[str]) -> bool:
    """Whether the path is that of a parameter of all blocks, not of blocks.0."""
    after = names[names.index("blocks") + 1 :] if "blocks" in names else []
    return bool(after) and not after[0].isdigit()
