"""The manners of `jax.nn.softmax`, and one clear sentence for bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = pytest.mark.core

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (-1, 1), None])
def test_softmax_is_jax_nn_softmax(axis):
    where = X > -0.5
    ours = sj.softmax(X, axis=axis, where=where)
    np.testing.assert_allclose(ours, jax.nn.softmax(X, axis, where=where), atol=1e-6)


@pytest.mark.parametrize("name", sj.CATALOGUE)
@pytest.mark.parametrize("axis", [(0, 2), None])
def test_several_axes_are_one_row(name, axis):
    f = sj.CATALOGUE[name].function
    order = (1, 0, 2) if axis else (0, 1, 2)
    flat = f(X.transpose(order).reshape(3 if axis else 1, -1)).reshape(
        [X.shape[i] for i in order]
    )
    np.testing.assert_allclose(f(X, axis=axis), flat.transpose(order), atol=1e-6)


def test_integers_give_floats():
    assert sj.softmax(jnp.arange(3)).dtype == jnp.float32
    np.testing.assert_allclose(sj.sparsemax(np.arange(3)), [0, 0, 1])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_dtype_comes_back(dtype):
    assert sj.entmax(X.astype(dtype), alpha=1.3).dtype == dtype


def test_minus_infinity_is_a_mask():
    x = X.at[0, 0, 1].set(-jnp.inf)
    where = jnp.isfinite(x)
    for name in ("ssmax", "sigmoid", "entmax15"):
        f = sj.CATALOGUE[name].function
        np.testing.assert_array_equal(f(x), f(X, where=where))


def test_an_empty_axis_stays_empty():
    assert sj.sparsemax(jnp.zeros((3, 0))).shape == (3, 0)


def test_a_scalar_parameter_does_not_retrace():
    traces = 0

    class Counting(sj.Ratio):
        rate: jax.Array = sj.parameter(1.0)

        def log_weight(self, z):
            nonlocal traces
            traces += 1
            return self.rate * z

    Counting(rate=0.5)(X)
    traced_once = traces
    for rate in (1.0, 2.0):
        Counting(rate=rate)(X)
    assert traces == traced_once > 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sj.softmax(X, axis=3), "axis 3 is out of range"),
        (lambda: sj.softmax(X, axis=(1, -2)), "same axis twice"),
        (lambda: sj.softmax(X, temperature=0.0), "temperature must lie strictly"),
        (lambda: sj.entmax(X, alpha=1.0), "alpha must lie strictly between 1 and inf"),
        (lambda: sj.ssmax(X, scale=jnp.ones(4)), r"shape \(4,\) does not broadcast"),
        (lambda: sj.softmax(jnp.ones(3, jnp.complex64)), "x must be real"),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        call()


def test_a_users_own_normalizer_needs_no_registration():
    class LogQuadratic(sj.Ratio):
        def log_weight(self, z):
            return jnp.log1p(z * z)

    z = X[0]
    weights = (1 + z * z) / (1 + z * z).sum(-1, keepdims=True)
    np.testing.assert_allclose(LogQuadratic()(z), weights, rtol=1e-5)
    with pytest.raises(TypeError, match="log_weight"):
        type("Empty", (sj.Ratio,), {})()
