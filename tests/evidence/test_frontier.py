"""The frontier: points by hand, the temperature of equal sparsity, the picture."""

import math
from pathlib import Path

import pytest

from softmax_jax.errors import UserError
from softmax_jax.evidence import results
from softmax_jax.evidence.studies import frontier, frontier_figures
from softmax_jax.evidence.studies.frontier import FrontierConfig
from softmax_jax.training.config import to_mapping

FIRST = FrontierConfig("multimax(c1=-2, b1=2, c2={}, d1=7)", (-0.5, -0.9))


def test_a_point_by_hand() -> None:
    # 10, 8, -1 become 7.3, 7.1, -7.
    weights = [math.exp(z) for z in (7.3, 7.1, -7.0)]
    top, second, low = (w / sum(weights) for w in weights)
    tail = math.exp(-1) / (math.exp(10) + math.exp(8) + math.exp(-1))
    s, m = frontier.points(FIRST)[1]
    assert m == pytest.approx(1 - (top - second), abs=1e-5)
    assert s == pytest.approx(math.exp(-low / tail), abs=1e-5)


def test_the_temperature_of_equal_sparsity_is_found() -> None:
    for temperature in (0.8, 1.0, 1.3):
        s, m = frontier.softmax_point(FIRST, temperature)
        assert frontier.at_sparsity(FIRST, s) == pytest.approx(m, abs=1e-4)


def test_no_scores_of_another_name() -> None:
    with pytest.raises(UserError, match="scores='normall' is unknown; use figure"):
        frontier.points(FrontierConfig(scores="normall"))


def test_comparisons_with_softmax_and_the_picture(tmp_path: Path) -> None:
    arms = {
        "figure_softmax": FrontierConfig(settings=(0.8, 1.0, 1.2)),
        "figure_multimax_first": FIRST,
    }
    found = []
    for arm, config in arms.items():
        outcome = frontier.run(config, 0, tmp_path, "")
        found.append(
            results.Result(
                study="frontier",
                arm=arm,
                seed=0,
                metrics=outcome.metrics,
                sample="",
                seconds=0.0,
                config=to_mapping(config),
                claims_sha256="",
                environment={},
            )
        )
    softmax, multimax = (result.metrics for result in found)
    assert (softmax["setting@1"], softmax["setting@3"]) == (0.8, 1.2)
    assert softmax["both@2"] == 0 and softmax["trade_off"] > 0
    assert softmax["gain@3"] == pytest.approx(0, abs=1e-4)
    assert multimax["gain@2"] > multimax["both@2"] > 0.5
    drawn = frontier_figures.draw(found, tmp_path / "figures")
    assert [path.name for path in drawn] == ["frontier.png", "frontier.svg"]
    assert all(path.stat().st_size > 5000 for path in drawn)
