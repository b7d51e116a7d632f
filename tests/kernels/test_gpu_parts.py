"""What the kernels for Hopper GPUs make of a user's function, with no kernel."""

import jax
import jax.numpy as jnp
import numpy as np

from softmax_jax.attention.kernels.mosaic_gpu.fold import folded
from softmax_jax.attention.kernels.mosaic_gpu.members import (
    LARGEST,
    approximate_reciprocal,
)
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Range


def test_what_is_0_or_1_everywhere_is_not_computed():
    def f(x):
        zero, one = jnp.zeros_like(x), jnp.ones_like(x)
        kept = jnp.where(x > 0, 2 * x, zero)
        return one * kept + zero * x - zero, zero - x, one + one

    x = jnp.array([-1.0, 2.0])
    for found, expected in zip(folded(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    left = [eqn.primitive.name for eqn in jax.make_jaxpr(folded(f))(x).eqns]
    assert left.count("mul") == 1 and left.count("sub") == 1 and left.count("add") == 1


def test_a_reciprocal_without_a_division():
    x = np.concatenate([np.linspace(1, 4, 10_001), 2.0 ** np.linspace(0, LARGEST, 999)])
    x = x.astype(np.float32)
    error = x * np.asarray(approximate_reciprocal(jnp.asarray(x)), np.float64) - 1
    assert np.abs(error).max() < 1.5e-4


def test_one_loop_is_one_that_compares_positions():
    found = Range(1, 2, 3, 4)
    assert found.in_one_loop((False, True)) == (1, 1, 1, 4)
    assert found.in_one_loop((True, False)) == (1, 4, 4, 4)
