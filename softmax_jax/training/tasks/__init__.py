"""The kinds of run, by the name that a configuration gives as `task`."""

from pathlib import Path

from softmax_jax.training.config import RunConfig
from softmax_jax.training.tasks import classification, language_model, translation
from softmax_jax.training.tasks.base import Data, Objective

KINDS = {
    "language_model": language_model,
    "translation": translation,
    "classification": classification,
}


def objective(config: RunConfig) -> Objective:
    """What the run of a complete configuration minimizes."""
    return KINDS[config.task].Objective(config)


def load(config: RunConfig, folder: Path) -> Data:
    """The data of a run; what they are encoded with is kept in its folder."""
    return KINDS[config.task].load(config, folder)
