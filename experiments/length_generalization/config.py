"""The lookup task over the whole catalogue: what keeps its focus when rows grow?

quick  trained on 8 to 32 pairs, judged on up to 1024; minutes on 2 cores
small  the lookup of scalable_softmax: a larger vocabulary, longer training, up to 4096

    softmax-jax run length_generalization --size quick --seeds 3
"""

import math

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick", "small")
# Every row of the catalogue at its defaults, where these are not said otherwise.
ROWS = (
    "softmax",
    "softmax1",
    "sigsoftmax",
    "logistic_softmax",
    "multimax",
    "softpick",
    "sparse_softmax(k=4)",
    "t_softmax",
    "r_softmax",
    "sparsemax",
    "entmax(alpha=1.25)",
    "entmax15",
    "sigmoid",
    "relu",
    "relu_power",
)


def get_config(size: str = "quick") -> ConfigDict:
    """The one study, with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    base = to_mapping(LookupConfig())
    if size == "quick":
        base |= {"vocabulary": 2048, "lengths": (8, 16, 32, 64, 128, 256, 512, 1024)}
        base |= {"rows": 128, "steps": 1000, "batch_size": 64}
    arms = {row.partition("(")[0]: {"normalizer": row} for row in ROWS}
    arms |= _scaled(base["shortest"], base["longest"])
    return ConfigDict({"length_generalization": {"base": base, "arms": arms}})


def _scaled(shortest: int, longest: int) -> dict:
    """The arms whose scores are multiplied by what depends on the row's length."""
    neutral = neutral_scale(shortest, longest)
    log_length = {"query_scale": f"log_length(scale={neutral})"}
    return {
        "ssmax": {"normalizer": f"ssmax(scale={neutral})"},
        "softmax_llama4": {"query_scale": f"llama4(floor={longest})"},
        "softmax_log_n": {"query_scale": f"log_n(length={longest})"},
        "softmax_adaptive_length": {"query_scale": "adaptive_length"},
        "softmax_key_lengths": {"query_scale": "key_lengths"},
        "multimax_log_length": {"normalizer": "multimax", **log_length},
        "sparsemax_log_length": {"normalizer": "sparsemax", **log_length},
        "entmax15_log_length": {"normalizer": "entmax15", **log_length},
    }


def neutral_scale(shortest: int, longest: int) -> float:
    """The s for which the mean multiplier s log n over these lengths is 1."""
    logs = [math.log(n) for n in range(shortest, longest + 1)]
    return round(len(logs) / sum(logs), 3)
