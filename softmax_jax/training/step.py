"""The pure, jitted training and evaluation steps."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from softmax_jax.training.state import TrainState

PyTree = Any
TrainStep = Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
EvalStep = Callable[[PyTree, jax.Array], jax.Array]


def mean_loss(
    graph: nnx.GraphDef,
    params: PyTree,
    tokens: jax.Array,
    partition: PartitionSpec | None = None,
) -> jax.Array:
    """mean of -log p(tokens[:, t + 1] | tokens[:, :t + 1]), nats per token, float32."""
    model = nnx.merge(graph, params)
    logits, _ = model.run(tokens[:, :-1], partition=partition)
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
    return losses.mean()


def make_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    state_sharding: TrainState,
    batch_sharding: NamedSharding,
    accumulation: int = 1,
    partition: PartitionSpec | None = None,
) -> TrainStep:
    """`(state, tokens [B, T + 1]) -> (state, loss and gradient norm)`.

    The state's buffers are donated. With `accumulation` the batch is computed in that
    many equal parts and one optimizer step is made with the mean of their gradients.
    """
    loss = functools.partial(mean_loss, partition=partition)
    loss_and_gradient = jax.value_and_grad(loss, argnums=1)

    def accumulated(params: PyTree, tokens: jax.Array) -> tuple[jax.Array, PyTree]:
        # Part i takes rows i, i + k, ...: every device keeps its own rows.
        parts = tokens.reshape(-1, accumulation, tokens.shape[-1]).swapaxes(0, 1)

        def add(total: PyTree, part: jax.Array) -> tuple[PyTree, None]:
            found = loss_and_gradient(graph, params, part)
            return jax.tree.map(jnp.add, total, found), None

        zero = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), params))
        total, _ = jax.lax.scan(add, zero, parts)
        return jax.tree.map(lambda x: x / accumulation, total)

    def train_step(
        state: TrainState, tokens: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        if accumulation == 1:
            value, gradient = loss_and_gradient(graph, state.params, tokens)
        else:
            value, gradient = accumulated(state.params, tokens)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        values = {"loss": value, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(params, opt_state, state.step + 1), values

    return jax.jit(
        train_step,
        in_shardings=(state_sharding, batch_sharding),
        out_shardings=(state_sharding, None),
        donate_argnums=0,
    )


def make_eval_step(
    graph: nnx.GraphDef,
    params_sharding: PyTree,
    batch_sharding: NamedSharding,
    partition: PartitionSpec | None = None,
) -> EvalStep:
    """`(params, tokens [B, T + 1]) -> mean loss` in nats per token."""

    def eval_step(params: PyTree, tokens: jax.Array) -> jax.Array:
        return mean_loss(graph, params, tokens, partition)

    return jax.jit(eval_step, in_shardings=(params_sharding, batch_sharding))
