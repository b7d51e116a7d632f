"""The fit on log n finds what was put in."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.evidence.studies import discovery
from softmax_jax.evidence.studies.discovery import (
    DiscoveryConfig,
    FreeMultiplier,
    fit_log,
)
from softmax_jax.nn import NormalizerParam
from softmax_jax.training.config import RunConfig, from_mapping


def test_a_logarithm_is_found_exactly_and_a_line_is_not() -> None:
    n = np.arange(1, 129)
    found = fit_log(0.4 * np.log(n) + 0.7, least_n=4)
    assert found["slope"] == pytest.approx(0.4)
    assert found["intercept"] == pytest.approx(0.7)
    assert found["r_squared"] == pytest.approx(1.0)
    assert 0.5 < fit_log(n, least_n=4)["r_squared"] < 0.9
    assert fit_log(np.ones(128), least_n=4)["r_squared"] == 0.0


@pytest.mark.slow
def test_free_multipliers_scale_each_row_by_its_own() -> None:
    q = jnp.linspace(-1, 1, 48).reshape(1, 6, 2, 4)
    table = NormalizerParam(jnp.arange(1.0, 7.0))
    free = FreeMultiplier(table, heads=2)
    _, weights = sj.dot_product_attention(
        q, q, q, normalizer=free(), is_causal=True, return_weights=True
    )
    _, expected = sj.dot_product_attention(
        q * table[...][None, :, None, None],
        q,
        q,
        is_causal=True,
        return_weights=True,
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_the_table_is_learned_once_for_all_layers(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"In the beginning was the word. " * 100)
    mapping = {
        "model": {"vocabulary": 0, "layers": 2, "width": 8, "heads": 2},
        "data": {"name": f"file:{tmp_path / 'text'}"},
        "optimizer": {"warmup": 1},
        "training": {"steps": 3, "batch_size": 2, "sequence_length": 16},
    }
    config = DiscoveryConfig(from_mapping(RunConfig, mapping))
    found = discovery.run(config, 0, tmp_path / "run", "tiny")
    assert found.metrics.keys() == {"r_squared", "slope", "intercept", "training_loss"}
    table = np.load(tmp_path / "run" / "multipliers.npy")
    assert table.shape == (16,)
    # At n = 1 there is nothing to choose, so nothing to learn; elsewhere there is.
    assert table[0] == 1.0 and (table[1:] != 1.0).all()
