"""Divisors of the dot product: a simulation, and models trained with them.

quick  everything there is; minutes on 2 cores

    softmax-jax run dot_product_scaling --size quick --seeds 3
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.dot_product_scaling import DIVISORS, ScalingConfig
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick",)


def get_config(size: str = "quick") -> ConfigDict:
    """The simulation of the paper's two figures, and the lookup task."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    return ConfigDict({"dot_product_scaling": _simulation(), "lookup": _lookup()})


def _simulation() -> dict:
    """Every divisor at the width of Figure 2, two at that of Figure 1."""
    arms: dict[str, dict] = {name: {"divisor": name} for name in DIVISORS}
    for name in ("one", "root_width"):
        arms[f"{name}_16"] = {"divisor": name, "width": 16}
    return {"base": to_mapping(ScalingConfig()), "arms": arms}


def _lookup() -> dict:
    arms = {
        "softmax": {},
        "sum": {"query_scale": "key_lengths"},
        "max": {"query_scale": "key_lengths(statistic='max')"},
        "root_sum_square": {"query_scale": "key_lengths(statistic='root_sum_square')"},
        # How much hangs on the set-up? Flax's default variance is 1 / width.
        "softmax_unit": {"embedding_variance": 1.0},
        "sum_unit": {"query_scale": "key_lengths", "embedding_variance": 1.0},
    }
    lengths = (8, 16, 32, 64, 128, 256, 512, 1024)
    return {"base": to_mapping(LookupConfig(lengths=lengths)), "arms": arms}
