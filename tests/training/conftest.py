"""One tiny configuration, whose program is compiled once for all tests here."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from softmax_jax.training import FitResult, RunConfig, fit, from_mapping
from softmax_jax.training import program as programs
from softmax_jax.training.config import MeshConfig

MESH = {field.name for field in dataclasses.fields(MeshConfig)}


def make_config(**changes: object) -> RunConfig:
    """A one-layer model with a learned normalizer; changes of its training and mesh."""
    mesh = {name: value for name, value in changes.items() if name in MESH}
    training = {name: value for name, value in changes.items() if name not in MESH}
    defaults = {"steps": 10, "batch_size": 8, "sequence_length": 16}
    defaults |= {"log_every": 4, "eval_every": 5, "eval_batches": 2}
    defaults |= {"checkpoint_every": 3}
    return from_mapping(
        RunConfig,
        {
            "model": {
                "vocabulary": 256,
                "layers": 1,
                "width": 16,
                "heads": 2,
                "mlp_width": 32,
                "normalizer": "ssmax",
            },
            "data": {},
            "optimizer": {"learning_rate": 0.01, "warmup": 2},
            "training": defaults | training,
            "mesh": {"data": 1} | mesh,
        },
    )


@pytest.fixture(scope="session")
def config() -> Callable[..., RunConfig]:
    return make_config


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Configurations that compute the same share their compiled functions."""
    original = programs.build
    build = functools.cache(original)

    def shared(config: RunConfig, devices: Any = None) -> programs.Program:
        if devices is not None:
            return original(config, devices)
        training = dataclasses.replace(config.training, stop_step=None, start_from=None)
        return build(dataclasses.replace(config, training=training))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "build", shared)
        yield


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A run that nothing disturbed."""
    folder: Path = tmp_path_factory.mktemp("unbroken")
    return fit(make_config(), folder)
