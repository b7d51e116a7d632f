"""A run as plain data: frozen dataclasses, from and to nested mappings."""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from softmax_jax.data.text import TextConfig
from softmax_jax.errors import UserError
from softmax_jax.nn import TransformerConfig
from softmax_jax.optim import OptimizerConfig

Config = TypeVar("Config")


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how much at a time, and on which devices.

    Attributes:
      steps: optimizer steps that the learning-rate schedule is laid for.
      batch_size: sequences per optimizer step, over all devices.
      sequence_length: predicted tokens per sequence.
      accumulation: micro-batches that a batch is computed in, one after the other.
      log_every, eval_every, checkpoint_every: intervals in steps; the last step is
        always logged, evaluated and saved.
      eval_batches: the most validation batches per evaluation.
      keep: how many of the newest checkpoints stay.
      seed: of the initial parameters and of the order of the data.
      data, fsdp, tensor: sizes of the mesh axes; data=-1 takes the remaining devices.
      stop_step: ends the run at this step although the schedule goes on.
      start_from: folder of another run whose newest checkpoint this one goes on from,
        with the step, the position in the data, and every parameter and moment whose
        path and shape match; the normalizer's own parameters start fresh.
      watchdog: seconds without a finished step after which the process ends, with the
        stacks of all threads on stderr; longer than an evaluation, a save or the
        first step after one takes. None never ends it.
    """

    steps: int
    batch_size: int
    sequence_length: int
    accumulation: int = 1
    log_every: int = 50
    eval_every: int = 500
    eval_batches: int = 20
    checkpoint_every: int = 500
    keep: int = 2
    seed: int = 0
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    stop_step: int | None = None
    start_from: str | None = None
    watchdog: float | None = None

    @property
    def last_step(self) -> int:
        """The step after which the run is complete."""
        return self.steps if self.stop_step is None else min(self.steps, self.stop_step)

    @property
    def tokens_per_step(self) -> int:
        """Predicted tokens in a batch."""
        return self.batch_size * self.sequence_length


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on; `model.vocabulary=0` is filled in from the data."""

    model: TransformerConfig
    data: TextConfig
    optimizer: OptimizerConfig
    training: TrainingConfig


def with_vocabulary(config: RunConfig, vocabulary: int) -> RunConfig:
    """`config` with the model's vocabulary taken from the data."""
    if config.model.vocabulary not in (0, vocabulary):
        raise UserError(
            f"model.vocabulary={config.model.vocabulary}, but the data have "
            f"{vocabulary} different tokens; use {vocabulary}, or 0."
        )
    model = dataclasses.replace(config.model, vocabulary=vocabulary)
    return dataclasses.replace(config, model=model)


def from_mapping(
    kind: type[Config], mapping: Mapping[str, Any], prefix: str = ""
) -> Config:
    """The dataclass `kind` from a nested mapping; every key and type is checked."""
    described: Any = kind
    hints = get_type_hints(described)
    fields = {field.name: field for field in dataclasses.fields(described)}
    for key in mapping:
        if key not in fields:
            near = get_close_matches(key, fields) or sorted(fields)
            names = " or ".join(prefix + name for name in near)
            raise UserError(f"{prefix}{key} is not a setting; did you mean {names}?")
    values = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(mapping[name], hints[name], prefix + name)
        elif dataclasses.MISSING is field.default is field.default_factory:
            raise UserError(f"{prefix}{name} is missing.")
    return kind(**values)


def to_mapping(config: Any, prefix: str = "") -> dict[str, Any]:
    """The nested dictionary of a configuration, ready for JSON."""
    mapping = {}
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(type(value)) and field.type is type(value):
            mapping[field.name] = to_mapping(value, key + ".")
        else:
            mapping[field.name] = _plain(value, key)
    return mapping


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, key) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"{key}={value!r} cannot be written to a file; give it as a string, "
        "such as 'ssmax(scale=0.43)'."
    )


def _convert(value: Any, kind: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_mapping(kind, value, key + ".")
    try:
        return _as(value, kind)
    except TypeError:
        name = kind.__name__ if isinstance(kind, type) else kind
        raise UserError(f"{key}={value!r} should be of type {name}.") from None


def _as(value: Any, kind: Any) -> Any:
    """`value` as `kind`: an int may be a float and a list a tuple, nothing else."""
    if get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            try:
                return _as(value, member)
            except TypeError:
                continue
    elif get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_as(item, get_args(kind)[0]) for item in value)
    elif kind is float and type(value) is int:
        return float(value)
    elif isinstance(kind, type) and isinstance(value, kind):
        if kind is bool or not isinstance(value, bool):
            return value
    raise TypeError
