"""The shipped experiment: every size is sound, and so are its claims."""

import pytest

from softmax_jax import cli
from softmax_jax.evidence import experiment, locate

NAME = "scalable_softmax"
HOME = locate.find_experiment(NAME)


def planned(size: str) -> experiment.Experiment:
    words = ["run", NAME, "--size", size]
    return cli._experiment(cli.build_parser().parse_args(words), size, [])


@pytest.mark.parametrize("size", ["demo", "quick", "small", "paper"])
def test_every_judged_claim_compares_arms_that_are_run(size: str) -> None:
    ours = planned(size)
    run = {(arm.study, arm.name) for arm in experiment.arms(ours)}
    judged = [claim for claim in ours.claims if size in claim.sizes]
    assert judged
    for claim in judged:
        assert (claim.study, claim.treatment) in run
        assert claim.control is None or (claim.study, claim.control) in run


def test_claims_are_named_once_and_no_unverified_number_is_given() -> None:
    claims = planned("quick").claims
    assert len({claim.name for claim in claims}) == len(claims)
    assert all(claim.paper_effect is None for claim in claims if not claim.verified)
    assert {claim.status for claim in claims} == {"tested", "configured", "not_tested"}


def test_the_neutral_scale_makes_the_mean_multiplier_one() -> None:
    neutral = locate.load_module(HOME / "config.py").neutral_scale
    assert neutral(1, 1024) == 0.168  # the initial value of the paper's models
    assert neutral(8, 32) == 0.342


def test_differences_are_put_in_group_by_group() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert experiment.merged(base, {"a": {"b": 5}}) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert base["a"]["b"] == 1
