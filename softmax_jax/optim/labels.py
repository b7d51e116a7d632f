"""What kind of parameter each leaf is."""

from typing import Any

import jax
from flax import nnx

from softmax_jax.nn import NormalizerParam

PyTree = Any


def labels(params: PyTree) -> PyTree:
    """The kind of each variable of an nnx state, which decides its rule.

    "normalizer" for a normalizer's own parameters, else "decay" for matrices and
    "no_decay" for gains and biases. The result has a word in the place of every
    variable: a prefix of `params`, which is what optax takes as labels.
    """

    def label(variable: nnx.Variable) -> str:
        if isinstance(variable, NormalizerParam):
            return "normalizer"
        return "decay" if variable.ndim >= 2 else "no_decay"

    return jax.tree.map(label, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
