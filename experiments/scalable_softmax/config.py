"""Scalable-Softmax against softmax: what differs from the recipes.

demo   lookup with both, then a short byte LM of each; under 6 minutes on 2 cores
quick  every lookup arm; minutes on 2 cores
small  and the LM arms with their probes; an hour on 2 cores, ten minutes on a large GPU
paper  162M parameters; configured for a pod, never run by us

    softmax-jax run scalable_softmax --size demo --seeds 3
"""

import math

from ml_collections import ConfigDict

from configs import lm
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import to_mapping

SIZES = ("demo", "quick", "small", "paper")


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    config = ConfigDict({"lookup": _lookup(size)})
    if size != "quick":
        config.language_model = _language_model(size)
    if size in ("small", "paper"):
        config.discovery = {
            "base": {"run": lm.get_config(size).to_dict()},
            "arms": {"free_multiplier": {}},
        }
    return config


def neutral_scale(shortest: int, longest: int) -> float:
    """The s for which the mean multiplier s log n over these lengths is 1."""
    logs = [math.log(n) for n in range(shortest, longest + 1)]
    return round(len(logs) / sum(logs), 3)


def _lookup(size: str) -> dict:
    base = to_mapping(LookupConfig())
    ssmax = f"ssmax(scale={neutral_scale(base['shortest'], base['longest'])})"
    arms = {
        "softmax": {"normalizer": "softmax"},
        "ssmax": {"normalizer": ssmax, "learned": ["scale"]},
        "ssmax_fixed": {"normalizer": ssmax, "learned": []},
        "ssmax_bias": {"normalizer": ssmax, "learned": ["scale", "bias"]},
        "ssmax_swapped": {
            "normalizer": ssmax,
            "learned": [],
            "parameters_from": "softmax",
        },
        # Not in the paper: how much of the gain is a learned sharpness, without log n?
        "softmax_temperature": {"normalizer": "softmax", "learned": ["temperature"]},
        # How much of the gap hangs on the set-up? Flax's default variance is 1 / width.
        "softmax_unit": {"normalizer": "softmax", "embedding_variance": 1.0},
        "ssmax_unit": {
            "normalizer": ssmax,
            "learned": ["scale"],
            "embedding_variance": 1.0,
        },
    }
    if size == "demo":
        arms = {name: arms[name] for name in ("softmax", "ssmax")}
    return {"base": base, "arms": arms}


def _language_model(size: str) -> dict:
    recipe = lm.get_config("quick" if size == "demo" else size)
    ssmax = f"ssmax(scale={neutral_scale(1, recipe.training.sequence_length)})"
    arms = {
        "softmax": {},
        "ssmax": _model(normalizer=ssmax, learned=["scale"]),
    }
    if size == "demo":
        recipe.training.update({"steps": 250, "eval_every": 125})
        base = {"run": recipe.to_dict(), "rows": 0}
        return {"base": base, "arms": arms, "most_seeds": 1}
    arms |= {
        "ssmax_fixed": _model(normalizer=ssmax, learned=[]),
        "ssmax_bias": _model(normalizer=ssmax, learned=["scale", "bias"]),
        "ssmax_swapped": {
            "parameters_from": "softmax",
            **_model(normalizer=ssmax, learned=[]),
        },
        "ssmax_late": {
            "switch_from": "softmax",
            "switch_at": 0.9,
            **_model(normalizer=ssmax, learned=["scale"]),
        },
        "softmax_nope": _model(positions="none"),
        "ssmax_nope": _model(normalizer=ssmax, learned=["scale"], positions="none"),
    }
    return {"base": {"run": recipe.to_dict(), "rows": 16}, "arms": arms}


def _model(**changes: object) -> dict:
    return {"run": {"model": changes}}
