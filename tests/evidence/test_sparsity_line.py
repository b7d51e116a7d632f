"""The zeros of a map are counted, and a wrong number is noticed."""

from pathlib import Path

import jax
import pytest

from softmax_jax.evidence.studies import sparsity_line
from softmax_jax.evidence.studies.sparsity_line import SparsityLineConfig
from softmax_jax.normalizers.r_softmax import RSoftmax

CONFIG = {"rates": (0.35, 0.75), "lengths": (10,), "rows": 20}


def run(**changes: object) -> dict[str, float]:
    config = SparsityLineConfig(**CONFIG, **changes)  # type: ignore[arg-type]
    return dict(sparsity_line.run(config, 0, Path(), "").metrics)


@pytest.mark.parametrize(
    ("rate", "n", "zeros"), [(0.0, 5, 1), (0.5, 4, 2), (0.75, 4, 3), (0.99, 10, 9)]
)
def test_the_line_by_hand(rate: float, n: int, zeros: int) -> None:
    assert sparsity_line.expected(rate, n) == zeros


@pytest.mark.slow
def test_r_softmax_lies_on_the_line_at_any_scale() -> None:
    metrics = run(normalizer="r_softmax")
    assert metrics["disagreement"] == metrics["disagreement_masked"] == 0
    assert metrics["zeros@0.35"] == pytest.approx(0.35)  # floor(0.35 * 99) + 1 of 100
    assert metrics["zeros@0.75"] == pytest.approx(0.75)
    assert metrics["spread"] == 0


def test_the_zeros_of_sparsemax_follow_the_scale() -> None:
    metrics = run(normalizer="sparsemax")
    assert metrics["spread"] > 0.05
    assert "disagreement" not in metrics


@pytest.mark.slow
def test_a_map_that_counts_masked_scores_is_noticed() -> None:
    class CountsMasked(RSoftmax):
        def rows(self, n, z, visible):
            return super().rows(n, z, None)

    config, key = SparsityLineConfig(**CONFIG), jax.random.key(0)
    metrics = sparsity_line._line(CountsMasked(), config, key)
    assert metrics["disagreement"] == 0
    assert metrics["disagreement_masked"] > 0.5
