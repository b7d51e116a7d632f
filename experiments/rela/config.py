"""Rectified linear attention against softmax and its sparse kin, and its norms.

quick  2 layers of width 64, sentences of 4 to 8 words; minutes on 2 cores
small  2 layers of width 128, sentences of 4 to 20 words; meant for a GPU

    softmax-jax run rela --size quick --seeds 3
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.translation import TranslationConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick", "small")


def get_config(size: str = "quick") -> ConfigDict:
    """The one study, with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    base = to_mapping(TranslationConfig())
    if size == "small":
        base |= {"width": 128, "heads": 8, "words": 256, "longest": 20}
        base |= {"sentences": 262144, "judged": 2048, "steps": 5000, "batch_size": 128}
    arms = {
        "softmax": {"normalizer": "softmax"},
        "sparsemax": {"normalizer": "sparsemax"},
        "entmax15": {"normalizer": "entmax15"},
        "rela_g": {"normalizer": "relu", "output_norm": "gated"},
        "rela_i": {"normalizer": "relu", "output_norm": "small_gain"},
        # The ablation: what the norm is for, and what its small gain is for.
        "relu_rms": {"normalizer": "relu", "output_norm": "rms"},
        "relu_bare": {"normalizer": "relu"},
    }
    return ConfigDict({"translation": {"base": base, "arms": arms}})
