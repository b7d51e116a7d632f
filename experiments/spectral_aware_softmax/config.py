"""Spectral-aware softmax against softmax: what differs from the recipe.

quick  made-up identities and letters in typefaces; minutes on 2 cores

    softmax-jax run spectral_aware_softmax --size quick --seeds 10
"""

from ml_collections import ConfigDict

from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.spectral_aware import SpectralAwareConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick",)
# The full loss is the base: a shared classifier, the other modality's prototype as
# target, mask, absolute similarity, and prototypes that step on their own.
ARMS = {
    "softmax": {"loss": "softmax", "asynchronous": False},
    "own": {"loss": "own_modality", "asynchronous": False, "similarity": 0.0},
    "unmasked": {"mask": False, "similarity": 0.0},
    "masked": {"similarity": 0.0},
    "synchronous": {"asynchronous": False},
    "spectral_aware": {},
}


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    arms = {
        f"{data}_{name}": {"data": data, "steps": steps, **differences}
        for data, steps in (("synthetic", 600), ("glyphs", 2000))
        for name, differences in ARMS.items()
    }
    base = to_mapping(SpectralAwareConfig())
    return ConfigDict({"two_modalities": {"base": base, "arms": arms}})
