"""Hand-computed vectors, limits, and identities between rows of the catalogue."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

Z = np.array([[1.5, 1.0, 0.0, -0.5], [-3.0, 2.0, 2.0, 0.3]])


def close(got, expected, tolerance=1e-12):
    np.testing.assert_allclose(got, expected, atol=tolerance)


def test_sparsemax_by_hand():
    close(sj.sparsemax(jnp.asarray([1.5, 1.0, 0.0])), [0.75, 0.25, 0.0])
    close(sj.sparsemax(jnp.asarray([2.0, 0.0])), [1.0, 0.0])
    close(sj.sparsemax(jnp.asarray([0.3, 0.3, 0.3])), [1 / 3] * 3)


def test_entmax15_of_two_scores_by_hand():
    # With m the mean of z - tau: ((m + 1/2)/2)^2 + ((m - 1/2)/2)^2 = 1.
    m = math.sqrt(2 - 0.25)
    close(
        sj.entmax15(jnp.asarray([1.0, 0.0])),
        [((m + 0.5) / 2) ** 2, ((m - 0.5) / 2) ** 2],
    )


def test_softmax1_by_hand():
    e = math.exp
    close(
        sj.softmax1(jnp.asarray([1.0, 2.0])),
        [e(1) / (1 + e(1) + e(2)), e(2) / (1 + e(1) + e(2))],
    )
    # No overflow of the constant at very negative rows, no loss at very positive ones.
    close(sj.softmax1(jnp.asarray([-1000.0, -1000.0])), [0.0, 0.0])
    close(sj.softmax1(jnp.asarray([1000.0, 1000.0])), [0.5, 0.5])


def test_softmax1_is_softmax_with_one_more_score():
    sink = jnp.asarray([[0.7], [-1.2]])
    extended = sj.softmax(jnp.concatenate([sink, Z], axis=-1))[:, 1:]
    close(sj.softmax1(Z, sink=sink), extended)
    close(sj.softmax1(Z, sink=-1e9), sj.softmax(Z))


def test_ssmax_figure_1():
    # The paper's figure: one 3 above n - 1 scores of -2 at s = 0.43.
    for n, weight in [(10, 0.943), (1000, 0.129)]:
        x = jnp.full(n, -2.0).at[0].set(3.0)
        close(sj.softmax(x)[0], weight, 1e-3)
        s = 0.43
        close(sj.ssmax(x, scale=s)[0], 1 / (1 + (n - 1) * n ** (-5 * s)))


def test_ssmax_identities():
    close(sj.ssmax(Z, scale=0.0, bias=1.0), sj.softmax(Z))
    close(sj.ssmax(Z, scale=1 / math.log(4)), sj.softmax(Z))
    # A very low visible key changes n, a masked one does not.
    low = jnp.concatenate([Z, jnp.full((2, 1), -1e5)], axis=-1)
    where = jnp.arange(5) < 4
    assert abs(sj.ssmax(low)[:, :4] - sj.ssmax(Z)).max() > 1e-3
    close(sj.ssmax(low, where=where)[:, :4], sj.ssmax(Z))


def test_ssmax_phases():
    # A lead of D keeps its weight iff s D > 1.
    x = jnp.zeros(10**6).at[0].set(1.0)
    assert sj.ssmax(x, scale=1.3)[0] > 0.97
    close(sj.ssmax(x, scale=1.0)[0], 0.5, 1e-5)
    assert sj.ssmax(x, scale=0.7)[0] < 0.02


def test_sigsoftmax_limits_and_identity():
    close(sj.sigsoftmax(Z), sj.softmax(2 * Z - jax.nn.softplus(Z)))
    close(sj.sigsoftmax(Z + 40), sj.softmax(Z))
    close(sj.sigsoftmax(Z - 40), sj.softmax(2 * Z))
    assert jnp.isfinite(sj.sigsoftmax(Z * 1e4)).all()
    close(sj.sigsoftmax(jnp.full((1, 3), -1200.0)), jnp.full((1, 3), 1 / 3))


def test_entmax_between_softmax_and_sparsemax():
    close(sj.entmax(Z, alpha=2.0), sj.sparsemax(Z))
    close(sj.entmax(Z, alpha=1.5), sj.entmax15(Z))
    close(sj.entmax(Z, alpha=1 + 1e-6), sj.softmax(Z), 1e-5)


def test_alpha_has_its_own_value_per_row():
    alpha = jnp.asarray([[1.2], [1.9]])
    rows = [sj.entmax(Z[i], alpha=alpha[i, 0]) for i in range(2)]
    close(sj.entmax(Z, alpha=alpha), jnp.stack(rows))


def test_sigmoid_at_zero_scores():
    close(sj.sigmoid(jnp.zeros(4)), np.full(4, 1 / 5))
    close(sj.sigmoid(jnp.zeros(4), where=jnp.arange(4) < 2), [1 / 3, 1 / 3, 0, 0])


def test_jacobian_of_sparsemax():
    support = (sj.sparsemax(Z[0]) > 0).astype(float)
    closed = jnp.diag(support) - jnp.outer(support, support) / support.sum()
    close(jax.jacrev(sj.sparsemax)(Z[0]), closed)


@pytest.mark.parametrize("name", ["entmax", "sigsoftmax", "ssmax"])
def test_second_order_by_differences(name):
    f = sj.CATALOGUE[name].function
    direction, step = np.array([0.3, -1.0, 0.7, 0.2]), 1e-5

    def slope(z):
        return jax.grad(lambda z: (f(z) ** 2).sum())(z)

    up, down = slope(Z[0] + step * direction), slope(Z[0] - step * direction)
    difference = (up - down) / (2 * step)
    close(jax.jvp(slope, (Z[0],), (direction,))[1], difference, 1e-7)


@pytest.mark.parametrize("name", ["sparsemax", "entmax15", "entmax"])
def test_scores_whose_difference_overflows_weigh_nothing(name):
    """A mask of the lowest float, times a query scale, is -inf on its way."""
    f = getattr(sj, name)
    for low in (-3e38, -jnp.inf):
        z = jnp.asarray([[3e38, low, 0.0]], jnp.float32)
        np.testing.assert_array_equal(f(z), [[1, 0, 0]])
        assert jnp.isfinite(jax.grad(lambda z: f(z)[0, 0])(z)).all()
    q = k = jnp.ones((1, 2, 1, 4), jnp.float32)
    bias = jnp.asarray([0.0, jnp.finfo(jnp.float32).min], jnp.float32)
    p = sj.dot_product_attention(
        q,
        k,
        k,
        bias[None, None, None],
        normalizer=name,
        query_scale="log_length(scale=9.0)",
        return_weights=True,
    )[1]
    np.testing.assert_allclose(p[0, 0], [[1, 0], [1, 0]], atol=1e-6)
