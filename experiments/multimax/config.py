"""MultiMax: the frontier of a temperature, and attention that learns it.

quick  the frontier, which is exact, and the lookup task; minutes on 2 cores
small  and language models; configured, not run by us
paper  the same at 162M parameters; configured for a pod, not run by us

    softmax-jax run multimax --size quick --seeds 3
"""

from ml_collections import ConfigDict

from configs import lm
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.frontier import FrontierConfig
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick", "small", "paper")
FIRST = ["c1", "c2", "b1", "d1"]
# What each kind of scores takes for relevant, and where the maps of MultiMax begin.
FIGURE = {"scores": "figure", "threshold": 0.0}
NORMAL = {"scores": "normal", "threshold": 2.0}


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    config = ConfigDict({"frontier": _frontier(), "lookup": _lookup()})
    if size != "quick":
        config.language_model = _language_model(size)
    return config


def _frontier() -> dict:
    """Settings: temperatures, slopes of the top less 1, curvatures of the top, alphas.

    The maps rise everywhere: 1 + 2 c4 (x - d2) > 0 for every score.
    """
    alpha = {"normalizer": "entmax(alpha={})", "settings": (1.25, 1.5, 2.0)}
    slopes = (-0.25, -0.5, -0.75, -0.9)
    arms = {}
    # On the figure's scores S leaves float32 at temperatures far from 1.
    for kind, base, temperatures, low, high, curvatures in (
        ("figure", FIGURE, (0.6, 0.8, 1.0, 1.2, 1.4), 2, 7, (-0.05, -0.1, -0.15)),
        ("normal", NORMAL, (0.25, 0.5, 1.0, 2.0, 4.0), 2, 2, (-0.02, -0.04, -0.06)),
    ):
        first = f"multimax(c1=-2, b1={low}, c2={{}}, d1={high})"
        second = f"multimax(c3=-1, b2={low}, c4={{}}, d2={high})"
        arms |= {
            f"{kind}_softmax": base | {"settings": temperatures},
            f"{kind}_multimax_first": base | {"normalizer": first, "settings": slopes},
            f"{kind}_multimax_second": base
            | {"normalizer": second, "settings": curvatures},
            f"{kind}_entmax": base | alpha,
        }
    return {"base": to_mapping(FrontierConfig()), "arms": arms, "most_seeds": 1}


def _lookup() -> dict:
    arms = {
        "softmax": {},
        "softmax_temperature": {"learned": ["temperature"]},
        "multimax": {"normalizer": "multimax"},
        "multimax_first": {"normalizer": "multimax", "learned": FIRST},
    }
    return {"base": to_mapping(LookupConfig()), "arms": arms}


def _language_model(size: str) -> dict:
    recipe = lm.get_config(size)
    arms = {
        "softmax": {},
        "multimax": {"run": {"model": {"normalizer": "multimax"}}},
        "multimax_first": {
            "run": {"model": {"normalizer": "multimax", "learned": FIRST}}
        },
    }
    return {"base": {"run": recipe.to_dict(), "rows": 0}, "arms": arms}
