"""Order statistics of masked rows, against numpy on the visible scores alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.normalizers import order

pytestmark = pytest.mark.core

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(5, 12)).astype(np.float32)
ROWS[1] = np.round(ROWS[1])  # ties
ROWS[2] = [0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38, 1, -1, 2, -2, 0.5, -0.5]
VISIBLE = RNG.random(ROWS.shape) < 0.7
VISIBLE[3] = True
SEEN = jnp.asarray(VISIBLE)


@pytest.mark.parametrize("r", [0.0, 0.1, 0.5, 0.83, 1.0])
def test_quantile_of_the_visible_scores(r):
    hidden = jnp.asarray(np.where(VISIBLE, ROWS, np.nan))
    got = order.quantile(hidden, SEEN, jnp.full((5, 1), r))
    expected = [np.quantile(z[v], r) for z, v in zip(ROWS, VISIBLE, strict=True)]
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5, atol=1e-37)


def test_a_share_that_rounding_put_outside_is_the_end():
    z = jnp.asarray(ROWS[0])
    ends = [order.quantile(z, None, jnp.full(1, r))[0] for r in (-1e-7, 1 + 1e-7)]
    assert ends == [z.min(), z.max()]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_kth_largest_of_the_visible_scores(k):
    got = order.kth_largest(jnp.asarray(ROWS), SEEN, k)
    rows = (np.sort(z[v]) for z, v in zip(ROWS, VISIBLE, strict=True))
    np.testing.assert_array_equal(got[:, 0], [z[-min(k, len(z))] for z in rows])


def test_an_empty_row_has_the_quantile_0():
    got = order.quantile(jnp.asarray(ROWS), jnp.zeros_like(SEEN), jnp.full((1, 1), 0.5))
    assert not got.any()


def test_the_gradient_is_shared_by_ties():
    z = jnp.asarray([1.0, 3.0, 1.0, 2.0, 0.0])

    def middle(z):
        return order.quantile(z, None, jnp.full(1, 0.3))[0]

    # Position 1.2: 0.8 of the tied ones at ranks 1 and 2, which are equal.
    np.testing.assert_allclose(jax.grad(middle)(z), [0.5, 0, 0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(
        jax.grad(lambda z: order.quantile(z, None, jnp.full(1, 0.6))[0])(z),
        [0.3, 0, 0.3, 0.4, 0],
        atol=1e-6,
    )


def halves(z):
    return np.asarray(jnp.asarray(z).astype(jnp.bfloat16).astype(jnp.float32))


LARGE = RNG.normal(size=(4, 700)).astype(np.float32)
SHAPES = {
    "bell": LARGE,
    "ties at zero": np.maximum(LARGE, 0),
    "half precision": halves(LARGE),
    "skewed": np.exp(4 * LARGE),
    "outliers": np.where(LARGE > 2, np.float32(1e30), LARGE),
    "constant": np.ones_like(LARGE),
}


@pytest.mark.parametrize("rank", [0, 7, 350, 690, 699])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_search_ends_on_scores_of_any_shape(shape, rank):
    z = SHAPES[shape]
    got = order.order_statistic(jnp.asarray(z), None, jnp.full((4, 1), float(rank)))
    np.testing.assert_array_equal(got[:, 0], np.sort(z, axis=-1)[:, rank])
