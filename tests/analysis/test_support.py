"""Zeros count where a key is visible, and nowhere else."""

import jax.numpy as jnp
import pytest

from softmax_jax.analysis.support import null_rate, sparsity_rate

WEIGHTS = jnp.asarray([[0.5, 0.0, 0.0], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0]])
VISIBLE = jnp.asarray([[True, True, False], [True, True, False], [False] * 3])


def test_sparsity_rate() -> None:
    assert sparsity_rate(WEIGHTS, VISIBLE) == pytest.approx(3 / 4)
    assert sparsity_rate(WEIGHTS, jnp.ones((1, 3), bool)) == pytest.approx(7 / 9)


def test_null_rate() -> None:
    """A row whose weight is on a hidden key is empty; one that sees none is no row."""
    assert null_rate(WEIGHTS, VISIBLE) == pytest.approx(1 / 2)
    assert null_rate(WEIGHTS, jnp.ones((3, 3), bool)) == pytest.approx(1 / 3)
