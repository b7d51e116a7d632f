"""The whole catalogue is in the experiment, and the picture ranks it."""

import softmax_jax as sj
from softmax_jax.evidence import locate
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies import length_figures
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import from_mapping

HOME = locate.find_experiment("length_generalization", None)


def test_every_row_of_the_catalogue_has_an_arm() -> None:
    config = locate.load_module(HOME / "config.py").get_config("quick")
    study = config.length_generalization.to_dict()
    arms = {
        name: from_mapping(LookupConfig, study["base"] | differences)
        for name, differences in study["arms"].items()
    }
    plain = [arm for arm in arms.values() if arm.query_scale is None]
    assert {arm.normalizer.partition("(")[0] for arm in plain} == set(sj.CATALOGUE)
    for claim in locate.load_module(HOME / "claims.py").CLAIMS:
        assert {claim.treatment, claim.control} - {None} <= arms.keys()
        assert int(claim.metric.partition("@")[2]) in study["base"]["lengths"]


def test_what_lasts_longest_stands_on_top() -> None:
    settings = {"lengths": [8, 16], "longest": 8}
    found = [
        Result("x", arm, seed, {"accuracy@8": 1.0, "accuracy@16": far}, "", 0.0,
               settings, "", {})
        for arm, seed, far in (("a", 0, 0.1), ("a", 1, 0.5), ("b", 0, 0.9))
    ]  # fmt: skip
    axes, *_ = length_figures.heat_map(found).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["1.00", "0.90", "1.00", "0.30"]
