"""A configuration and a folder in, a trained model out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from softmax_jax.training import program as programs
from softmax_jax.training import state as states
from softmax_jax.training import tasks
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.config import RunConfig
from softmax_jax.training.run import Run
from softmax_jax.training.run_folder import open_run, read_config


@dataclass(frozen=True)
class FitResult:
    """A run that came to its end, or that was asked to stop before (`completed`).

    `metrics` has `steps` and the newest `train_loss` (mean over the last window),
    `validation_loss` (nats per token or image), what else the task counts, such as
    `validation_bits` or `validation_accuracy`, the `tokens_per_second` or
    `images_per_second` that the run got to, and what was judged at its end.
    """

    model: Any
    metrics: dict[str, int | float]
    folder: Path
    completed: bool


def fit(config: RunConfig, folder: Path, *, label: str = "") -> FitResult:
    """Runs `config` in `folder`, or goes on with the run that is there.

    A run that was killed, or stopped with SIGTERM, ends bitwise where it would have
    ended without, on the same machine, devices and versions. A finished run returns at
    once. `label` stands before the progress.

    Raises:
      UserError: for what the user can mend, before the first step.
      TrainingDiverged: naming the first step whose loss or gradient is not finite.
    """
    data = tasks.load(config, folder)
    config = data.config
    program = programs.build(config)
    open_run(folder, config)
    keep = config.training.keep
    with (
        jax.set_mesh(program.mesh),
        Checkpoints(folder / "checkpoints", keep) as checkpoints,
    ):
        run = Run(config, program, data, checkpoints)
        completed = run.train(folder, label or folder.name)
    model = nnx.merge(program.graph, run.state.params)
    metrics = run.metrics | {"steps": run.step}
    return FitResult(model, metrics, folder, completed)


def load_model(folder: Path) -> Any:
    """The model of the run in `folder` with the weights of its newest checkpoint."""
    objective = tasks.objective(read_config(folder))
    graph, shapes = states.abstract_model(objective.model)
    arrays, _ = programs.read_checkpoint(folder)
    named = {
        name.removeprefix("params."): jnp.asarray(array)
        for name, array in arrays.items()
        if name.startswith("params.")
    }
    return nnx.merge(graph, states.from_named(shapes, named))
