"""The compiled functions of a run, and the three states it can start from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from softmax_jax.errors import UserError
from softmax_jax.nn import NormalizerParam
from softmax_jax.optim import make_optimizer
from softmax_jax.training import sharding, state, step, tasks
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.config import RunConfig
from softmax_jax.training.state import TrainState
from softmax_jax.training.tasks.base import Objective

Host = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """One configuration on one mesh: its functions, shapes and shardings.

    `initial()` makes a fresh state, every parameter where it will live.
    """

    objective: Objective
    mesh: Mesh
    graph: nnx.GraphDef
    shapes: TrainState
    shardings: TrainState
    batch_sharding: NamedSharding
    initial: Callable[[], TrainState]
    train_step: step.TrainStep
    eval_step: step.EvalStep

    def lowered_step(self) -> jax.stages.Lowered:
        """The training step, traced and ready to be compiled; nothing is computed."""
        jitted: Any = self.train_step
        batch = jax.tree.map(
            lambda leaf: _placed(leaf, self.batch_sharding), self.objective.shapes()
        )
        with jax.set_mesh(self.mesh):
            return jitted.lower(self.placed_shapes(), batch)

    def placed_shapes(self) -> TrainState:
        """The shapes of the state, each where it will live."""
        return jax.tree.map(_placed, self.shapes, self.shardings)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def build(config: RunConfig, devices: Sequence[jax.Device] | None = None) -> Program:
    """Checks that the configuration fits the devices and makes the jitted functions."""
    training = config.training
    mesh = sharding.make_mesh(config.mesh, devices)
    sharding.check_batch(training, mesh)
    partition = sharding.attention_partition(config.mesh, mesh)
    objective = tasks.objective(config)
    graph, params = state.abstract_model(objective.model)
    optimizer = make_optimizer(config.optimizer, training.steps, params)
    initial = partial(state.initial_state, objective.model, optimizer, training.seed)
    shapes = jax.eval_shape(initial)
    where = sharding.state_shardings(shapes, mesh, config.mesh.rules)
    batch = sharding.batch_sharding(mesh)
    return Program(
        objective=objective,
        mesh=mesh,
        graph=graph,
        shapes=shapes,
        shardings=where,
        batch_sharding=batch,
        initial=jax.jit(initial, out_shardings=where),
        train_step=step.make_train_step(
            objective, graph, optimizer, where, batch, partition
        ),
        eval_step=step.make_eval_step(objective, graph, where.params, batch, partition),
    )


def restored(program: Program, checkpoints: Checkpoints) -> tuple[TrainState, Host]:
    """The newest checkpoint of this run, laid out on the present mesh."""
    arrays, host = checkpoints.restore(state.to_named(program.placed_shapes()))
    return state.from_named(program.shapes, arrays), host


def carried_over(program: Program, folder: Path) -> tuple[TrainState, Host]:
    """A fresh state with all that fits of another run's newest checkpoint.

    Carried over is what agrees in path and shape, except the normalizer's own
    parameters and their moments.
    """
    arrays, host = read_checkpoint(folder)
    own = normalizer_names(program.shapes.params)

    def choose(path: tuple[Any, ...], fresh: jax.Array) -> jax.Array | np.ndarray:
        name = state.leaf_name(path)
        found = arrays.get(name)
        if found is None or found.shape != fresh.shape or name.endswith(own):
            return fresh
        return found

    chosen = jax.tree_util.tree_map_with_path(choose, program.initial())
    return jax.device_put(chosen, program.shardings), host


def normalizer_names(params: Any) -> tuple[str, ...]:
    """Names of the normalizers' own parameters; their moments' names end with them."""
    variables, _ = jax.tree_util.tree_flatten_with_path(
        params, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )
    return tuple(
        state.leaf_name(path)
        for path, variable in variables
        if isinstance(variable, NormalizerParam)
    )


def read_checkpoint(folder: Path) -> tuple[dict[str, np.ndarray], Host]:
    """The newest checkpoint of the run in `folder`, in host memory."""
    if not (folder / "checkpoints").is_dir():
        raise UserError(f"{folder} holds no checkpoint.")
    with Checkpoints(folder / "checkpoints") as checkpoints:
        if checkpoints.latest is None:
            raise UserError(f"{folder} holds no complete checkpoint.")
        return checkpoints.read()
