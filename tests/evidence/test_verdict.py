"""Intervals by hand, and every way a verdict can go."""

import dataclasses
import math

import pytest

from softmax_jax.errors import UserError
from softmax_jax.evidence import report
from softmax_jax.evidence.claims import Claim
from softmax_jax.evidence.verdict import judge, t_interval

CLAIM = Claim(
    name="c",
    says="a beats b",
    source="nowhere",
    verified=False,
    setting="stand_in",
    status="tested",
    why="",
    study="lookup",
    metric="accuracy",
    treatment="a",
    control="b",
    margin=0.3,
    sizes=("quick",),
)
ZERO = {0: 0.0, 1: 0.0, 2: 0.0}


def verdict(effects: list[float], **changes):
    claim = dataclasses.replace(CLAIM, **changes)
    control = None if claim.control is None else ZERO
    return judge(claim, dict(enumerate(effects)), control)


def test_the_interval_is_the_one_computed_by_hand() -> None:
    # mean 2, s = 1, t(0.975, 2) = 4.302653 from a table, / sqrt(3)
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0 and interval.n == 3
    assert interval.half_width == pytest.approx(2.484138, abs=1e-5)
    assert interval.low == pytest.approx(-0.484138, abs=1e-5)
    assert math.isinf(t_interval([1.0]).half_width)


@pytest.mark.parametrize(
    ("effects", "changes", "word"),
    [
        ([0.5, 0.5, 0.51], {}, "supported"),
        ([0.5, 0.5, 0.51], {"setting": "paper"}, "reproduced"),
        ([0.3, 0.5, 0.7], {}, "inconclusive"),  # the interval holds the margin
        ([0.1, 0.1, 0.11], {"paper_effect": 0.5}, "contradicted"),
        ([0.1, 0.1, 0.11], {"paper_effect": None}, "inconclusive"),
        ([0.1, 0.1, 0.11], {"paper_effect": 0.01}, "inconclusive"),  # too few seeds
        ([0.1, 0.1, 0.11], {"source": ""}, "contradicted"),  # our own prediction
        ([0.9], {}, "inconclusive"),
        ([-0.5, -0.5, -0.51], {"direction": "lower"}, "supported"),
    ],
)
def test_every_verdict(effects: list[float], changes: dict, word: str) -> None:
    assert verdict(effects, **changes).word == word


def test_one_seed_is_not_enough_and_only_pairs_count() -> None:
    found = judge(CLAIM, {0: 1.0, 1: 1.0}, {1: 0.0, 2: 0.0})
    assert (found.word, found.reason) == ("inconclusive", "needs at least two seeds")


def test_pairing_removes_what_seeds_share() -> None:
    treatment, control = {0: 0.4, 1: 1.0, 2: 0.7}, {0: 0.0, 1: 0.6, 2: 0.3}
    found = judge(CLAIM, treatment, control)
    assert found.word == "supported"
    assert found.interval.half_width == pytest.approx(0.0, abs=1e-12)


def test_without_a_control_the_number_itself_is_judged() -> None:
    claim = dataclasses.replace(CLAIM, control=None)
    assert judge(claim, {0: 0.5, 1: 0.51}, None).word == "supported"
    lower = dataclasses.replace(claim, direction="lower")
    assert judge(lower, {0: 0.1, 1: 0.11}, None).word == "supported"
    assert judge(lower, {0: 0.5, 1: 0.51}, None).word == "inconclusive"


@pytest.mark.parametrize(
    ("effects", "changes", "word"),
    [
        ([0.31], {}, "holds"),
        ([0.31, 0.5, 0.29], {}, "does not hold"),  # for every seed
        ([0.3], {}, "does not hold"),
        ([0.2], {"control": None, "direction": "lower"}, "holds"),
        ([0.4], {"control": None, "direction": "lower"}, "does not hold"),
        ([], {}, "inconclusive"),
    ],
)
def test_an_exact_claim_is_a_comparison(
    effects: list[float], changes: dict, word: str
) -> None:
    assert verdict(effects, exact=True, **changes).word == word


def test_an_exact_number_is_shown_as_it_was_measured() -> None:
    claim = dataclasses.replace(CLAIM, exact=True, control=None, direction="lower")
    found = judge(claim, {0: 0.25}, None)
    assert report._effect(claim, found.interval) == ("0.25", "")


def test_a_claim_checks_itself() -> None:
    with pytest.raises(UserError, match="setting must be one of paper"):
        dataclasses.replace(CLAIM, setting="papr")
    with pytest.raises(UserError, match="needs study, metric and treatment"):
        dataclasses.replace(CLAIM, metric="")
    with pytest.raises(UserError, match="margin"):
        dataclasses.replace(CLAIM, margin=-1.0)
