"""The rows of the second wave by hand, at their limits, and as each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax import laws

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

Z = np.array([[1.5, 1.0, 0.0, -0.5, 2.2], [-3.0, 2.0, 2.0, 0.3, -0.1]])


def close(got, expected, tolerance=1e-12):
    np.testing.assert_allclose(got, expected, atol=tolerance)


def test_multimax_without_coefficients_is_softmax():
    close(sj.multimax(Z, b1=1.0, d1=-1.0, b2=2.0, d2=0.5), sj.softmax(Z))


def test_multimax_with_one_threshold_is_a_temperature():
    # b1 = d1 and c2 = -c1: the map is affine with slope 1 - c1.
    got = sj.multimax(Z, c1=0.3, c2=-0.3, b1=0.4, d1=0.4)
    close(got, sj.softmax(Z, temperature=1 / 0.7))


def test_multimax_slopes_are_the_temperatures_of_the_paper():
    first = sj.MultiMax(c1=-0.5, c2=-0.75, b1=0.0, d1=1.0)  # t_b = 1.5, t_d = 0.25
    slopes = jax.vmap(jax.grad(first.log_weight))(jnp.asarray([-2.0, 0.5, 3.0]))
    close(slopes, [1.5, 1.0, 0.25])


def test_multimax_is_shift_invariant_only_without_coefficients():
    moved = laws.TAGS["shift_invariant"].counterexample
    assert moved(sj.MultiMax(c1=0.5)) is not None
    assert laws.shift_invariant(sj.MultiMax()) is None


def test_monotone_multimax_preserves_order_and_the_free_one_need_not():
    free = dict(c1=2.5, c2=-3.0, c3=1.0, c4=-1.0, b1=0.7, d1=-0.5)
    assert laws.order_preserving(sj.MultiMax(**free)) is not None
    preserves = laws.TAGS["order_preserving"].counterexample
    assert preserves(sj.MultiMax(**free, monotone=True)) is None
    # To first order in c1 and c2 the two are the same.
    close(
        sj.multimax(Z, c1=1e-7, c2=1e-7),
        sj.multimax(Z, c1=1e-7, c2=1e-7, monotone=True),
        1e-13,
    )


def test_sigsoftmax_generalised():
    k, c = 3.0, -0.4
    written_out = k * (Z - c) + c - (k - 1) * jax.nn.softplus(Z - c)
    close(sj.sigsoftmax(Z, k=k, c=c), sj.softmax(written_out))
    close(sj.sigsoftmax(Z, k=1.0, c=0.7), sj.softmax(Z))


def test_logistic_softmax_limits():
    close(sj.logistic_softmax(Z - 40), sj.softmax(Z))
    close(sj.logistic_softmax(Z + 40), np.full_like(Z, 1 / 5))
    close(sj.logistic_softmax(Z - 80, temperature=2.0), sj.softmax(Z / 2))


def test_softpick_by_hand():
    e = np.expm1(np.array([2.0, 1.0]))
    expected = [*e / (e.sum() + 1 - np.exp(-1) + 1e-8), 0.0]
    close(sj.softpick(jnp.asarray([2.0, 1.0, -1.0])), expected)


def test_sparse_softmax_keeps_k_or_all():
    kept = (sj.sparse_softmax(Z[0], k=3) > 0).sum()
    assert kept == 3
    close(sj.sparse_softmax(Z, k=9), sj.softmax(Z))
    close(sj.sparse_softmax(Z[0], k=1), [0, 0, 0, 0, 1])
    # Two scores are tied for the first place: both stay.
    close(sj.sparse_softmax(Z[1], k=1), [0, 0.5, 0.5, 0, 0])
    kept = sj.sparse_softmax(Z[0], k=3, where=np.array([True, True, True, True, False]))
    close(kept[:3], sj.softmax(Z[0, :3]))


def test_sparse_softmax_refuses_to_keep_nothing():
    with pytest.raises(sj.UserError, match="k must be at least 1, got 0"):
        sj.parse("sparse_softmax(k=0)")


@pytest.mark.parametrize(
    ("z", "r", "expected"),
    [
        ([3.0, 2, 1, 1], 0.5, [0.8908, 0.1092, 0, 0]),
        ([4.0, 6, 6, 5], 0.75, [0, 0.5, 0.5, 0]),
        ([4.0, 6, 5, 5], 0.25, [0, 0.8717, 0.0641, 0.0641]),
    ],
)
def test_r_softmax_on_the_authors_vectors(z, r, expected):
    close(sj.r_softmax(jnp.asarray(z), r=r), expected, 1e-4)


def test_r_softmax_zeroes_a_known_number():
    z = jnp.asarray(np.random.default_rng(0).permutation(21) / 3.0)
    for r in (0.0, 0.12, 0.5, 0.77, 0.99):
        nearly_zero = (sj.r_softmax(z, r=r) < 1e-6).sum()
        assert nearly_zero == int(r * 20) + 1
    assert (sj.r_softmax(z, r=1.0) == 1).sum() == 1


def test_r_softmax_at_0_is_not_softmax_and_softmax_is_far_t():
    assert abs(sj.r_softmax(Z, r=0.0) - sj.softmax(Z)).max() > 0.02
    errors = [abs(sj.t_softmax(Z, t=t) - sj.softmax(Z)).max() for t in (1e2, 1e3)]
    assert errors[1] < 1e-3 and 9 < errors[0] / errors[1] < 11


@pytest.mark.parametrize("detached", [False, True])
def test_r_softmax_keeps_its_eps_in_float32(detached):
    equal = jnp.full(4, 2.5, jnp.float32)
    for r in (0.0, 0.4, 1.0):
        close(sj.r_softmax(equal, r=r, detached=detached), np.full(4, 0.25), 1e-6)
    one_hot = sj.r_softmax(Z[0].astype(np.float32), r=1.0, detached=detached)
    close(one_hot, [0, 0, 0, 0, 1], 1e-6)


def test_the_detached_gradient_is_that_of_t_softmax():
    z, direction = jnp.asarray(Z[0]), jnp.asarray([0.3, -1.0, 0.7, 0.2, 0.4])
    t = float(z.max() - jnp.quantile(z, 0.4)) + 1e-8

    def loss(f):
        return jax.grad(lambda z: (f(z) * direction).sum())(z)

    constant = loss(lambda z: sj.t_softmax(z, t=t))
    close(loss(lambda z: sj.r_softmax(z, r=0.4, detached=True)), constant)
    assert abs(loss(lambda z: sj.r_softmax(z, r=0.4)) - constant).max() > 0.01


def test_relu_power_and_relu():
    close(sj.relu_power(Z, power=1.0) * 5, sj.relu(Z))
    close(sj.relu_power(Z, power=3.0), np.maximum(Z, 0) ** 3 / 5)
    assert jax.grad(lambda z: sj.relu(z).sum())(jnp.zeros(3)).tolist() == [0, 0, 0]


def test_logarithms_where_weights_underflow():
    z = jnp.asarray([0.0, -2000.0, 5.0])
    log_p = sj.log_softmax(z)
    assert sj.softmax(z)[1] == 0
    close(log_p[1], -2000 - np.logaddexp(0, 5), 1e-9)
    gradient = jax.grad(lambda z: sj.log_softmax(z)[1])(z)
    close(gradient, [-1 / (1 + np.exp(5)), 1, -1 / (1 + np.exp(-5))], 1e-9)
    assert sj.log_sparsemax(z).tolist()[:2] == [-np.inf, -np.inf]
    masked = sj.log_softmax(z, where=jnp.asarray([True, False, True]))
    assert masked[1] == -np.inf
    assert not jnp.isnan(jax.grad(lambda z: sj.log_softmax(z)[0])(z)).any()
