"""A decoder language model on text.

    softmax-jax train configs/lm.py:quick --config.model.normalizer="ssmax"

| size  | model (layers x width) | hardware | time       | validation, bits per byte |
|-------|------------------------|----------|------------|---------------------------|
| quick | 3 x 128, 300 steps     | 2 cores  | 1 minute   | 2.32 (softmax, seed 0)    |
| small | 6 x 256, 1500 steps    | 2 cores  | 50 minutes | not measured              |
| paper | 12 x 768, 100k steps   | a pod    | not run    | not measured              |

The time of `small` is that of its first steps, carried on. `paper` reads PG-19, which
TensorFlow Datasets prepares (`tfds build pg19 --file_format=array_record`), or what
`--config.data.name` names instead.
"""

from typing import Any

from ml_collections import ConfigDict

from softmax_jax.errors import UserError


def get_config(size: str = "quick") -> ConfigDict:
    """The settings of one size: `quick`, `small` or `paper`."""
    sizes = {"quick": _quick, "small": _small, "paper": _paper}
    if size not in sizes:
        raise UserError(f"size={size!r} is unknown; use {' or '.join(sizes)}.")
    config = ConfigDict(
        {
            "model": {"vocabulary": 0, "normalizer": "softmax"},
            "data": {"name": "kjv", "level": "bytes"},
            "optimizer": {"weight_decay": 0.1},
            "training": {"seed": 0},
            "mesh": {"data": -1, "rules": {}},
        }
    )
    config.update(sizes[size]())
    return config


def _quick() -> dict[str, Any]:
    return {
        "model": {"layers": 3, "width": 128, "heads": 4},
        "optimizer": {"learning_rate": 3e-3, "warmup": 40},
        "training": {
            "steps": 300,
            "batch_size": 16,
            "sequence_length": 128,
            "log_every": 20,
            "eval_every": 150,
            "eval_batches": 20,
            "checkpoint_every": 150,
        },
    }


def _small() -> dict[str, Any]:
    return {
        "model": {"layers": 6, "width": 256, "heads": 4},
        "optimizer": {"learning_rate": 2e-3, "warmup": 200},
        "training": {
            "steps": 1500,
            "batch_size": 16,
            "sequence_length": 256,
            "log_every": 50,
            "eval_every": 500,
            "eval_batches": 40,
            "checkpoint_every": 250,
        },
    }


def _paper() -> dict[str, Any]:
    return {
        "model": {
            "layers": 12,
            "width": 768,
            "heads": 12,
            "head_width": 64,
            "vocabulary": 256,
            "scan": True,
            "rope_theta": 10_000.0,
            "dtype": "bfloat16",
        },
        "data": {"name": "tfds:pg19"},
        "optimizer": {"learning_rate": 6e-4, "warmup": 2000},
        "training": {
            "steps": 100_000,
            "batch_size": 512,
            "sequence_length": 1024,
            "log_every": 100,
            "eval_every": 2000,
            "eval_batches": 100,
            "checkpoint_every": 1000,
        },
        "mesh": {"fsdp": 4},
    }
