"""HistAlign on ambiguous templates: what differs from the recipe.

quick  a bottleneck from scratch, and a pretrained start; minutes on 2 cores

    softmax-jax run histalign --size quick --seeds 3
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.histalign import LOSSES, HistAlignConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick",)


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    corners = {f"corners_{loss}": {"loss": loss} for loss in LOSSES}
    larger = {"embedding": "random", "batch_size": 256}
    tuned = {
        **larger,
        "parameters_from": "pretrained",
        "steps": 500,
        "optimizer": {"learning_rate": 5e-4},
    }
    tuned_arms = {f"tuned_{loss}": {"loss": loss, **tuned} for loss in LOSSES}
    return ConfigDict(
        {
            "ambiguous_templates": {
                "base": to_mapping(HistAlignConfig()),
                "arms": {
                    **corners,
                    "pretrained": {**larger, "steps": 2500},
                    **tuned_arms,
                },
            }
        }
    )
