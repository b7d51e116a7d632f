"""The shipped experiments: every size of each is sound, and so are their claims."""

import pytest

from softmax_jax import cli
from softmax_jax.evidence import experiment, locate

HOME = locate.find_experiment("scalable_softmax")
SIZES = {
    config.parent.name: locate.load_module(config).SIZES
    for config in sorted(HOME.parent.glob("*/config.py"))
}


def planned(name: str, size: str) -> experiment.Experiment:
    words = ["run", name, "--size", size]
    return cli._experiment(cli.build_parser().parse_args(words), size, [])


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in SIZES for size in SIZES[name]]
)
def test_every_judged_claim_compares_arms_that_are_run(name: str, size: str) -> None:
    ours = planned(name, size)
    run = {(arm.study, arm.name) for arm in experiment.arms(ours)}
    judged = [claim for claim in ours.claims if size in claim.sizes]
    assert judged
    for claim in judged:
        assert (claim.study, claim.treatment) in run
        assert claim.control is None or (claim.study, claim.control) in run


@pytest.mark.parametrize("name", SIZES)
def test_claims_are_named_once_and_no_unverified_number_is_given(name: str) -> None:
    claims = planned(name, SIZES[name][0]).claims
    assert len({claim.name for claim in claims}) == len(claims)
    assert all(claim.paper_effect is None for claim in claims if not claim.verified)
    assert all(claim.why and claim.says for claim in claims)


def test_the_neutral_scale_makes_the_mean_multiplier_one() -> None:
    neutral = locate.load_module(HOME / "config.py").neutral_scale
    assert neutral(1, 1024) == 0.168  # the initial value of the paper's models
    assert neutral(8, 32) == 0.342


def test_differences_are_put_in_group_by_group() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert experiment.merged(base, {"a": {"b": 5}}) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert base["a"]["b"] == 1
