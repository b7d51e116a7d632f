"""The simulation divides as attention does, and its experiment is sound."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.errors import UserError
from softmax_jax.evidence import results
from softmax_jax.evidence.studies import dot_product_figures
from softmax_jax.evidence.studies.dot_product_scaling import (
    DIVISORS,
    ScalingConfig,
    as_released,
    correlation,
    draw_vectors,
    planted_weight,
    run,
    simulate,
    skewness,
)
from softmax_jax.training.config import to_mapping

SMALL = {"keys": 5, "queries": 7, "planted_lengths": (4,), "planted_queries": 3}
AS_ATTENTION = {
    "one": {"scale": 1.0},
    "root_width": {},
    "sum": {"query_scale": "key_lengths"},
    "max": {"query_scale": "key_lengths(statistic='max')"},
    "root_sum_square": {"query_scale": "key_lengths(statistic='root_sum_square')"},
}


@pytest.mark.parametrize("divisor", DIVISORS)
def test_every_divisor_is_one_of_attention(divisor: str) -> None:
    config = ScalingConfig(divisor, width=8, **SMALL)
    _, weights = simulate(config, 0)
    queries, keys = (x[:, None] for x in draw_vectors(config, 0))
    _, expected = sj.dot_product_attention(
        queries, keys, keys, return_weights=True, **AS_ATTENTION[divisor]
    )
    np.testing.assert_allclose(weights, expected[0], rtol=1e-5)


def test_the_planted_key_equals_the_query() -> None:
    config = ScalingConfig("one", **SMALL)
    assert planted_weight(config, 0, 64) == pytest.approx(1.0, abs=1e-3)
    fading = planted_weight(ScalingConfig("sum", **SMALL), 0, 64)
    assert fading == pytest.approx(1 / 64, rel=0.3)


def test_moments_by_hand() -> None:
    a = jnp.array([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]])
    np.testing.assert_allclose(correlation(a, 5 - 2 * a), -1, rtol=1e-6)
    assert skewness(a[0]) == pytest.approx(0.0, abs=1e-6)
    assert skewness(a[1]) == pytest.approx(0.5**0.5)


def test_the_released_code_pools_the_keys_of_the_first_queries() -> None:
    weights = np.arange(12).reshape(6, 2)  # of 6 queries and 2 keys
    np.testing.assert_array_equal(as_released(weights), [0, 1, 2, 3, 4, 5])


def test_an_unknown_divisor_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="divisor='root' is unknown; use one, root_w"):
        run(ScalingConfig("root", width=8, **SMALL), 0, tmp_path, "")


@pytest.mark.slow
def test_numbers_and_figures(tmp_path: Path) -> None:
    found = []
    for divisor in ("one", "root_width"):
        config = ScalingConfig(divisor, width=16, **SMALL)
        outcome = run(config, 1, tmp_path, "")
        found.append(
            results.Result(
                study="dot_product_scaling",
                arm=divisor,
                seed=1,
                metrics=outcome.metrics,
                sample="",
                seconds=0.0,
                config=to_mapping(config),
                claims_sha256="",
                environment={},
            )
        )
    assert found[0].metrics["score_std"] == pytest.approx(
        4 * found[1].metrics["score_std"], rel=1e-5
    )
    assert "planted_weight@4" in found[0].metrics
    # The width of Figure 1 was run, that of Figure 2 was not.
    drawn = dot_product_figures.draw(found, tmp_path / "figures")
    assert [path.name for path in drawn] == ["densities_16.png", "densities_16.svg"]
    assert all(path.stat().st_size > 5000 for path in drawn)
