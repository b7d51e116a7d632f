"""The loss of a language model far beyond the length it was trained on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.nn import Transformer


def loss(
    model: Transformer, tokens: np.ndarray, length: int, context: int, rows: int
) -> dict[str, float]:
    """Mean loss (nats per token) of the second half of windows of context * length.

    At context 1 of the whole window. `rows` windows are spread evenly over `tokens`.
    """
    size = context * length
    if len(tokens) <= size:
        raise UserError(
            f"the test part has {len(tokens)} tokens and is shorter than {size} "
            f"({context} training lengths); give a longer text"
        )
    starts = np.linspace(0, len(tokens) - size - 1, rows, dtype=int)
    graph, params = nnx.split(model)
    first = 0 if context == 1 else size // 2
    losses = [
        _losses(graph, params, jnp.asarray(tokens[None, s : s + size + 1], jnp.int32))
        for s in starts
    ]
    return {"loss": float(np.mean([np.asarray(row)[first:] for row in losses]))}


@jax.jit(static_argnames="graph")
def _losses(graph: nnx.GraphDef, params: Any, tokens: jax.Array) -> jax.Array:
    """-log p(tokens[0, t + 1] | tokens[0, :t + 1]) for every t."""
    logits = nnx.merge(graph, params)(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])[0]
