"""The generalised Jensen-Shannon divergence of heads against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.analysis.diversity import head_diversity


def test_equal_heads_do_not_differ_and_disjoint_ones_differ_most() -> None:
    row = jnp.asarray([0.2, 0.3, 0.5])
    assert head_diversity(jnp.broadcast_to(row, (2, 3, 1, 3))) == pytest.approx(0)
    disjoint = jnp.eye(3)[None, :, None]  # head h looks at key h alone
    assert head_diversity(disjoint) == pytest.approx(np.log(3))


def test_two_heads_by_hand() -> None:
    p = np.asarray([[0.9, 0.1], [0.5, 0.5]])
    entropy = [-(q * np.log(q)).sum() for q in (p.mean(0), *p)]
    expected = entropy[0] - (entropy[1] + entropy[2]) / 2
    assert head_diversity(jnp.asarray(p)[:, None]) == pytest.approx(expected, rel=1e-6)


def test_the_mass_of_a_row_does_not_count() -> None:
    weights = jnp.asarray([[0.9, 0.1], [0.5, 0.5]])[:, None]
    scaled = weights * jnp.asarray([7.0, 0.01])[:, None, None]
    same = float(head_diversity(weights))
    assert head_diversity(scaled) == pytest.approx(same, rel=1e-5)


def test_a_head_with_nothing_is_left_out_of_its_row() -> None:
    two = jnp.eye(2)[:, None]
    with_null = jnp.concatenate([two, jnp.zeros((1, 1, 2))])
    assert head_diversity(with_null) == pytest.approx(np.log(2))
    alone = jnp.concatenate([two[:1], jnp.zeros((2, 1, 2))])
    assert head_diversity(alone) == 0


def test_only_counted_rows_count() -> None:
    weights = jnp.stack([jnp.eye(2), jnp.full((2, 2), 0.5)], axis=1)  # rows 0 and 1
    assert head_diversity(weights) == pytest.approx(np.log(2) / 2)
    counted = jnp.asarray([True, False])
    assert head_diversity(weights, counted) == pytest.approx(np.log(2))
