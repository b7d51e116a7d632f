"""A Vision Transformer on labelled images.

    softmax-jax train configs/vit.py:quick --config.model.normalizer="sparsemax"

| size  | data, model (layers x width)     | hardware | time         | test accuracy |
|-------|----------------------------------|----------|--------------|---------------|
| quick | 1797 digits of 8 x 8, 4 x 64     | 2 cores  | 9 min, busy  | 0.95 (seed 0) |
| small | 5000 images of MNIST, 6 x 128    | 2 cores  | not run      | not measured  |
| paper | ImageNet at 224 x 224, DeiT-S    | a pod    | not run      | not measured  |

`paper` has the widths, the schedule and the weight decay of DeiT-S (Touvron et al.,
arXiv 2012.12877, table 9), and moves images where the paper augments them in many ways.
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
            "task": "classification",
            "model": {
                "classes": 0,
                "image_size": 0,
                "channels": 0,
                "normalizer": "softmax",
            },
            "data": {"name": "digits"},
            "optimizer": {"weight_decay": 0.05, "b2": 0.999},
            "training": {"seed": 0, "label_smoothing": 0.1},
            "mesh": {"data": -1, "rules": {}},
        }
    )
    config.update(sizes[size]())
    return config


def _quick() -> dict[str, Any]:
    return {
        "model": {"layers": 4, "width": 64, "heads": 4, "patch": 2},
        "data": {"name": "digits", "shift": 1},
        "optimizer": {"learning_rate": 2e-3, "warmup": 100},
        "training": {
            "steps": 1500,
            "batch_size": 64,
            "log_every": 100,
            "eval_every": 500,
            "checkpoint_every": 500,
        },
    }


def _small() -> dict[str, Any]:
    return {
        "model": {"layers": 6, "width": 128, "heads": 4, "patch": 4},
        "data": {"name": "mnist5k", "shift": 2},
        "optimizer": {"learning_rate": 1e-3, "warmup": 100},
        "training": {
            "steps": 2000,
            "batch_size": 64,
            "log_every": 50,
            "eval_every": 500,
            "checkpoint_every": 500,
        },
    }


def _paper() -> dict[str, Any]:
    return {
        "model": {
            "layers": 12,
            "width": 384,
            "heads": 6,
            "patch": 16,
            "classes": 1000,
            "image_size": 224,
            "channels": 3,
            "dtype": "bfloat16",
            "scan": True,
        },
        "data": {"name": "tfds:imagenet2012", "size": 224, "shift": 16},
        "optimizer": {"learning_rate": 1e-3, "warmup": 6255},
        "training": {
            "steps": 375_300,
            "batch_size": 1024,
            "log_every": 100,
            "eval_every": 5000,
            "eval_batches": 50,
            "checkpoint_every": 1000,
        },
    }
