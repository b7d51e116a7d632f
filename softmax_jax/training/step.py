"""The pure, jitted training and evaluation steps of any objective."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding

from softmax_jax.attention.partition import Partition
from softmax_jax.optim.spikes import SpikeState
from softmax_jax.training.state import TrainState
from softmax_jax.training.tasks.base import Batch, Objective, Sums

PyTree = Any
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Sums]]
EvalStep = Callable[[PyTree, Batch], Sums]


def make_train_step(
    objective: Objective,
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    state_sharding: TrainState,
    batch_sharding: NamedSharding,
    partition: Partition | None = None,
) -> TrainStep:
    """`(state, batch) -> (state, loss, gradient norm and what else is counted)`.

    The state's buffers are donated. With `training.accumulation` the batch is computed
    in that many equal parts; the gradient is that of the whole batch all the same.
    """
    training = objective.config.training
    accumulation, smoothing = training.accumulation, training.label_smoothing

    def total(params: PyTree, batch: Batch) -> tuple[jax.Array, Sums]:
        model = nnx.merge(graph, params)
        sums = objective.sums(model, batch, partition, smoothing)
        return sums["loss"], sums

    totals = jax.grad(total, has_aux=True)

    def accumulated(params: PyTree, batch: Batch) -> tuple[PyTree, Sums]:
        def split(leaf: jax.Array) -> jax.Array:
            # Part i takes rows i, i + k, ...: every device keeps its own rows.
            return leaf.reshape(-1, accumulation, *leaf.shape[1:]).swapaxes(0, 1)

        def add(sum_: PyTree, part: Batch) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, sum_, totals(params, part)), None

        parts = jax.tree.map(split, batch)
        shapes = jax.eval_shape(totals, params, jax.tree.map(lambda x: x[0], parts))
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zero, parts)[0]

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        summed = totals if accumulation == 1 else accumulated
        gradient, sums = summed(state.params, batch)
        count = jnp.maximum(sums.pop("count"), 1).astype(jnp.float32)
        gradient = jax.tree.map(lambda x: x / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        values = {name: x.astype(jnp.float32) / count for name, x in sums.items()}
        values["count"] = count
        values["gradient_norm"] = optax.tree.norm(gradient)
        if isinstance(opt_state, SpikeState):
            values["skipped_steps"] = opt_state.skipped
        return TrainState(params, opt_state, state.step + 1), values

    return jax.jit(
        train_step,
        in_shardings=(state_sharding, batch_sharding),
        out_shardings=(state_sharding, None),
        donate_argnums=0,
    )


def make_eval_step(
    objective: Objective,
    graph: nnx.GraphDef,
    params_sharding: PyTree,
    batch_sharding: NamedSharding,
    partition: Partition | None = None,
) -> EvalStep:
    """`(params, batch) -> sums`, of which `count` says over how many."""

    def eval_step(params: PyTree, batch: Batch) -> Sums:
        return objective.sums(nnx.merge(graph, params), batch, partition)

    return jax.jit(eval_step, in_shardings=(params_sharding, batch_sharding))
