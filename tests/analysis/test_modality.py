"""Multi-modality and sparsity: the authors' figure, hand values, left-out rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.analysis.modality import multimodality, softmax_tail, sparsity

FIGURE = jnp.array([10.0, 8.0, -1.0])


def test_the_numbers_of_the_authors_figure() -> None:
    weights = jax.nn.softmax(FIGURE)
    tail = softmax_tail(FIGURE, 0.0)
    assert tail == pytest.approx(float(weights[2]))
    assert multimodality(FIGURE, weights, 0.0) == pytest.approx(0.238, abs=5e-4)
    assert sparsity(FIGURE, weights, 0.0, tail) == pytest.approx(np.exp(-1))


def test_by_hand() -> None:
    scores = jnp.array([3.0, 2.0, 1.0, -1.0, -2.0])
    weights = jnp.array([0.5, 0.3, 0.1, 0.1, 0.0])
    # The relevant entries behind the top are 2 and 1, with 0.2 and 0.4 less weight.
    assert multimodality(scores, weights, 0.0) == pytest.approx(0.7)
    expected = (np.exp(-0.1 / 0.2) + 1) / 2
    assert sparsity(scores, weights, 0.0, 0.2) == pytest.approx(expected)
    # An entry at the threshold is neither relevant nor irrelevant.
    assert multimodality(scores, weights, 1.0) == pytest.approx(0.8)
    assert sparsity(scores, weights, 1.0, 0.2) == pytest.approx(expected)


def test_rows_without_the_entries_are_left_out_not_scored_one() -> None:
    alone = jnp.array([9.0, -5.0, -6.0])  # nothing relevant but the top
    crowded = jnp.array([9.0, 5.0, 6.0])  # nothing irrelevant
    rows = jnp.stack([FIGURE, alone, crowded])
    weights = jax.nn.softmax(rows)
    for metric, kept in (
        (multimodality, [0, 2]),
        (lambda *given: sparsity(*given, 0.01), [0, 1]),
    ):
        separate = [float(metric(rows[i], weights[i], 0.0)) for i in kept]
        found = metric(rows, weights, 0.0)
        assert found == pytest.approx(np.mean(separate))
    assert jnp.isnan(multimodality(alone, weights[1], 0.0))
    assert jnp.isnan(sparsity(crowded, weights[2], 0.0, 0.01))


def test_the_extremes() -> None:
    uniform, one_hot = jnp.full(3, 1 / 3), jnp.array([1.0, 0.0, 0.0])
    assert multimodality(FIGURE, uniform, 0.0) == 1
    assert multimodality(FIGURE, one_hot, 0.0) == 0
    assert sparsity(FIGURE, one_hot, 0.0, 0.1) == 1
