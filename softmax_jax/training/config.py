"""A run as plain data: frozen dataclasses."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softmax_jax.data.images import ImagesConfig
from softmax_jax.data.pairs import PairsConfig
from softmax_jax.data.text import TextConfig
from softmax_jax.errors import UserError
from softmax_jax.nn import (
    EncoderDecoderConfig,
    TransformerConfig,
    VisionTransformerConfig,
)
from softmax_jax.optim import OptimizerConfig
from softmax_jax.training.mapping import from_mapping as from_mapping
from softmax_jax.training.mapping import to_mapping as to_mapping

# What is learned, by which model, on which data.
TASKS: dict[str, tuple[type, type]] = {
    "language_model": (TransformerConfig, TextConfig),
    "translation": (EncoderDecoderConfig, PairsConfig),
    "classification": (VisionTransformerConfig, ImagesConfig),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how much at a time, and what is kept.

    Attributes:
      steps: optimizer steps that the learning-rate schedule is laid for.
      batch_size: sequences or images per optimizer step, over all devices; of shorter
        sentences to translate there are so many more that their tokens are as many.
      sequence_length: predicted tokens per sequence; not used for images.
      accumulation: micro-batches that a batch is computed in, one after the other.
      label_smoothing: the share of the target that all classes share alike.
      log_every, eval_every, checkpoint_every: intervals in steps; the last step is
        always logged, evaluated and saved.
      eval_batches: the most validation batches per evaluation.
      keep: how many of the newest checkpoints stay.
      seed: of the initial parameters and of the order of the data.
      stop_step: ends the run at this step although the schedule goes on.
      start_from: folder of another run whose newest checkpoint this one goes on from,
        with the step, the position in the data, and every parameter and moment whose
        path and shape match; the normalizer's own parameters start fresh.
      watchdog: seconds without a finished step after which the process ends, with the
        stacks of all threads on stderr; longer than an evaluation, a save or the
        first step after one takes. None never ends it.
      profile: (first step, how many) that are traced into the folder's `profile`.
    """

    steps: int
    batch_size: int
    sequence_length: int = 0
    accumulation: int = 1
    label_smoothing: float = 0.0
    log_every: int = 50
    eval_every: int = 500
    eval_batches: int = 20
    checkpoint_every: int = 500
    keep: int = 2
    seed: int = 0
    stop_step: int | None = None
    start_from: str | None = None
    watchdog: float | None = None
    profile: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                "training.label_smoothing must lie in [0, 1), got "
                f"{self.label_smoothing}"
            )

    @property
    def last_step(self) -> int:
        """The step after which the run is complete."""
        return self.steps if self.stop_step is None else min(self.steps, self.stop_step)


@dataclass(frozen=True)
class RulesConfig:
    """The mesh axis that each axis of the parameters lies along; None is none of them.

    Attributes:
      width: of the model.
      heads: of queries, and of keys and values.
      mlp: the hidden width of the blocks' MLPs.
      vocabulary: of embeddings and heads.
    """

    width: str | None = "fsdp"
    heads: str | None = "tensor"
    mlp: str | None = "tensor"
    vocabulary: str | None = "tensor"


@dataclass(frozen=True)
class MeshConfig:
    """Which devices do what.

    Attributes:
      replica, data, fsdp: axes that examples are split over. Parameters are split over
        fsdp alone, so that replicas can be the slices that a slow network joins;
        data=-1 takes the devices that the other axes leave.
      tensor: heads, hidden widths and the vocabulary are split over it.
      context: positions of a sequence are split over it.
      method: how attention sees all positions then: "gather", "ulysses" or "ring".
      balanced: gives every device early and late positions, so that under a causal
        mask all have as much to do.
      rules: what is split over which axis.
    """

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
    method: str = "gather"
    balanced: bool = False
    rules: RulesConfig = RulesConfig()


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on; `task` is one of `TASKS` and decides two classes.

    Sizes of the model that are 0 are filled in from the data.
    """

    model: Any
    data: Any
    optimizer: OptimizerConfig
    training: TrainingConfig
    mesh: MeshConfig = MeshConfig()
    task: str = "language_model"

    @classmethod
    def kinds(cls, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """The types of `model` and `data`, which the task decides."""
        task = mapping.get("task", cls.task)
        if task not in TASKS:
            raise UserError(f"task={task!r} is unknown; use {' or '.join(TASKS)}.")
        return dict(zip(("model", "data"), TASKS[task], strict=True))


FROM_DATA = ("vocabulary", "classes", "image_size", "channels")


def complete(config: RunConfig) -> bool:
    """Whether no size of the model is left for the data to decide."""
    return all(getattr(config.model, name, 1) for name in FROM_DATA)


def filled_in(config: RunConfig, **sizes: int) -> RunConfig:
    """`config` with sizes of the model that the data decide."""
    for name, size in sizes.items():
        given = getattr(config.model, name)
        if given not in (0, size):
            raise UserError(
                f"model.{name}={given}, but that of the data is {size}; use {size}, "
                "or 0."
            )
    model = dataclasses.replace(config.model, **sizes)
    return dataclasses.replace(config, model=model)
