"""Norms of Jacobians against autodiff, and the corners of the simplex by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.analysis import saturation

RNG = np.random.default_rng(0)
SCORES = jnp.asarray(RNG.normal(0, 2, (3, 6)), jnp.float32)
KEYS = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)


@pytest.mark.parametrize(
    ("weights", "entropy", "norm"),
    [
        ([0.25, 0.25, 0.25, 0.25], 1.0, 3**0.5 / 4),
        ([0.5, 0.5, 0.0, 0.0], 0.5, 0.5),
        ([0.0, 1.0, 0.0, 0.0], 0.0, 0.0),
    ],
)
def test_corners(weights: list[float], entropy: float, norm: float) -> None:
    row = jnp.array(weights)
    assert saturation.entropy(row) == pytest.approx(entropy, abs=1e-6)
    assert saturation.jacobian_norm(row) == pytest.approx(norm, abs=1e-6)


def test_the_norm_is_that_of_the_derivative() -> None:
    jacobian = jax.vmap(jax.jacobian(jax.nn.softmax))(SCORES)
    expected = jnp.linalg.norm(jacobian, axis=(-2, -1))
    found = saturation.jacobian_norm(jax.nn.softmax(SCORES))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_norm_by_the_query_is_that_of_the_derivative() -> None:
    queries = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)

    def weights(query: jax.Array) -> jax.Array:
        return jax.nn.softmax(0.3 * KEYS @ query)

    expected = jnp.linalg.norm(jax.vmap(jax.jacobian(weights))(queries), axis=(-2, -1))
    found = saturation.query_jacobian_norm(jax.vmap(weights)(queries), KEYS, 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
