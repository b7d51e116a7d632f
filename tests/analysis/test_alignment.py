"""Alignment error against hand counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.analysis.alignment import (
    aligned,
    alignment_error_rate,
    normal_and_shifted,
)

WEIGHTS = jnp.asarray([[0.1, 0.7, 0.2], [0.0, 0.0, 0.0], [3.0, 0.0, 1.0]])


def test_the_largest_weight_is_the_link_and_a_null_row_has_none() -> None:
    np.testing.assert_array_equal(aligned(WEIGHTS), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])


def links(*pairs: tuple[int, int]):
    return jnp.zeros((4, 4), bool).at[tuple(zip(*pairs, strict=True))].set(True)


def test_error_rate_by_hand() -> None:
    found = links((0, 0), (1, 1), (2, 3))
    sure = links((0, 0), (1, 2))
    assert alignment_error_rate(found, sure) == pytest.approx(1 - 2 / 5)
    possible = links((1, 1), (3, 3))  # with the sure ones: |A and P| = 2
    assert alignment_error_rate(found, sure, possible) == pytest.approx(1 - 3 / 5)
    assert alignment_error_rate(sure, sure) == 0
    assert alignment_error_rate(links((3, 3)), sure) == 1


def test_a_missing_link_costs_less_than_a_wrong_one() -> None:
    sure = links((0, 0), (1, 1))
    missing = alignment_error_rate(links((0, 0)), sure)
    assert missing < alignment_error_rate(links((0, 0), (1, 2)), sure)


def test_shifted_rows_come_one_step_later() -> None:
    normal, shifted = normal_and_shifted(WEIGHTS)
    np.testing.assert_array_equal(normal, WEIGHTS[:2])
    np.testing.assert_array_equal(shifted, WEIGHTS[1:])
