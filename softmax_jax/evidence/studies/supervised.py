"""Training on a fixed set of rows, a scan of many steps per call."""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from softmax_jax.optim import OptimizerConfig, make_optimizer
from softmax_jax.training.progress import progress_bar

CHUNK = 100  # training steps per call


@runtime_checkable
class Settings(Protocol):
    """What the configuration of a study says about training; hashable."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...


# (configuration, model, batch) -> mean loss
Objective = Callable[[Any, Any, Any], jax.Array]


def train(
    objective: Objective,
    config: Settings,
    model: nnx.Module,
    rows: Any,
    seed: int,
    label: str,
) -> Generator[tuple[int, float]]:
    """Trains `model`, and yields after every chunk: the steps done, its mean loss.

    `rows` is a pytree of arrays with the same number of rows; batches are drawn from
    them with replacement, the same ones for the same `seed`. Between chunks the model
    is up to date.
    """
    graph, params = nnx.split(model)
    params = jax.tree.map(jnp.copy, params)  # the chunks give their arguments away
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    state = (params, optimizer.init(params))
    count = len(jax.tree.leaves(rows)[0])
    # Drawn here, because a random number generator inside the scan compiles slowly.
    shape = (config.steps, config.batch_size)
    drawn = np.random.default_rng(seed).integers(count, size=shape)
    with progress_bar(config.steps, label) as bar:
        for start in range(0, config.steps, CHUNK):
            chosen = jnp.asarray(drawn[start : start + CHUNK])
            state, losses = _chunk(objective, config, graph, state, rows, chosen)
            nnx.update(model, jax.tree.map(jnp.copy, state[0]))
            loss = float(losses.mean())
            bar.update(len(chosen), loss=f"{loss:.4f}")
            yield start + len(chosen), loss


@partial(
    jax.jit,
    static_argnames=("objective", "config", "graph"),
    donate_argnames="state",
)
def _chunk(
    objective: Objective,
    config: Settings,
    graph: nnx.GraphDef,
    state: tuple[Any, Any],
    rows: Any,
    chosen: jax.Array,
) -> tuple[tuple[Any, Any], jax.Array]:
    """One optimizer step per row of `chosen`, the numbers of a batch's rows."""
    optimizer = make_optimizer(config.optimizer, config.steps, state[0])

    def mean_loss(params: Any, batch: Any) -> jax.Array:
        return objective(config, nnx.merge(graph, params), batch)

    def step(state: tuple[Any, Any], batch_rows: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = state
        batch = jax.tree.map(lambda array: array[batch_rows], rows)
        loss, gradient = jax.value_and_grad(mean_loss)(params, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(step, state, chosen)
