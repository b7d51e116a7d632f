"""r-softmax: its line of zeros, and multi-label classification.

demo   the line of zeros; seconds
quick  and every multi-label arm; minutes on 2 cores, needs softmax-jax[multilabel]

    softmax-jax run r_softmax --size quick --seeds 3
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.multilabel import MultilabelConfig
from softmax_jax.evidence.studies.sparsity_line import SparsityLineConfig
from softmax_jax.training.config import to_mapping

SIZES = ("demo", "quick")
# Classes / mean number of labels. Sets of 20 classes share one compilation.
SETS = ["5/2", "20/2", "20/5", "20/10", "50/5", "yeast"]


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    config = ConfigDict({"sparsity_line": _sparsity_line()})
    if size == "quick":
        config.multilabel = _multilabel()
    return config


def _sparsity_line() -> dict:
    names = ("r_softmax", "sparsemax", "entmax15", "softmax")
    arms = {name: {"normalizer": name} for name in names}
    return {"base": to_mapping(SparsityLineConfig()), "arms": arms}


def _multilabel() -> dict:
    base = to_mapping(MultilabelConfig()) | {"sets": SETS}
    arms = {
        "softmax": {"loss": "own"},
        "softmax_js": {},
        "sparsemax": {"normalizer": "sparsemax"},
        "sparsemax_own": {"normalizer": "sparsemax", "loss": "own"},
        "entmax15": {"normalizer": "entmax15"},
        "entmax15_own": {"normalizer": "entmax15", "loss": "own"},
        "r_softmax": {"normalizer": "r_softmax", "count": "predicted"},
        "r_softmax_true": {"normalizer": "r_softmax", "count": "true"},
        # The gradient of the authors' release, which takes the quantile as a constant.
        "r_softmax_detached": {
            "normalizer": "r_softmax(detached=True)",
            "count": "predicted",
        },
        # Not in the paper: how much does knowing the number of labels do by itself?
        "softmax_counted": {"loss": "own", "count": "predicted"},
        "softmax_true": {"loss": "own", "count": "true"},
    }
    return {"base": base, "arms": arms}
