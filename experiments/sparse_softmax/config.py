"""Sparse-softmax: 1024 classes, from scratch and fine-tuned, and what its loss costs.

quick  both studies; minutes on 2 cores

    softmax-jax run sparse_softmax --size quick --seeds 3
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.loss_speed import LossSpeedConfig
from softmax_jax.evidence.studies.many_classes import ManyClassesConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick",)


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    # Few examples of displaced classes: where a trained model overfits.
    tuned = {
        "domain": "target",
        "each": 5,
        "steps": 800,
        "parameters_from": "softmax",
    }
    arms = {
        "softmax": {},
        "sparse": {"loss": "sparse_softmax"},
        "softmax_tuned": tuned,
        "sparse_tuned": {"loss": "sparse_softmax", **tuned},
    }
    return ConfigDict(
        {
            "many_classes": {"base": to_mapping(ManyClassesConfig()), "arms": arms},
            "loss_speed": {
                "base": to_mapping(LossSpeedConfig()),
                "arms": {"gradient": {}},
            },
        }
    )
