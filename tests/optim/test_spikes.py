"""Where the gradient stands out there is no step, and nothing else is different."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.optim import OptimizerConfig, make_optimizer
from softmax_jax.optim.spikes import WINDOW

STEPS = 3 * WINDOW
PARAMS = nnx.State({"gain": nnx.Param(jnp.zeros(4))})


def optimizer(deviations=6.0):
    config = OptimizerConfig(warmup=0, clip=1e9, skip_spikes=deviations)
    return make_optimizer(config, 10 * STEPS, PARAMS)


def gradients(spikes=(), seed=0):
    """[steps, 4], of norm 2 or nearly, or 100 times that."""
    noise = np.random.default_rng(seed).normal(1.0, 0.01, (STEPS, 4))
    noise[list(spikes)] *= 100
    return jnp.asarray(noise, jnp.float32)


@functools.partial(jax.jit, static_argnames="deviations")
def train(gradients, state=None, deviations=6.0):
    """Parameters and skipped steps after every step, and the optimizer's last state."""
    found = optimizer(deviations)

    def step(carry, gradient):
        params, state = carry
        changes, state = found.update(nnx.State({"gain": gradient}), state, params)
        params = optax.apply_updates(params, changes)
        return (params, state), (params["gain"], optax.tree.get(state, "skipped", 0))

    params = nnx.State({"gain": jnp.zeros(4)})
    start = found.init(params) if state is None else state
    (_, last), (path, skipped) = jax.lax.scan(step, (params, start), gradients)
    return path, skipped, last


def test_a_spike_moves_neither_parameters_nor_moments():
    at = WINDOW
    path, skipped, last = train(gradients([at]))
    np.testing.assert_array_equal(path[at], path[at - 1])
    assert (path[at - 1] != path[at - 2]).all() and (path[at + 1] != path[at]).all()
    assert skipped[at - 1] == 0 and skipped[-1] == skipped[at] == 1
    # The same as had the batch not been there.
    without = jnp.delete(gradients([at]), at, axis=0, assume_unique_indices=True)
    other, _, never = train(without)
    np.testing.assert_array_equal(path[-1], other[-1])
    for a, b in zip(*map(jax.tree.leaves, (last.inner, never.inner)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_spikes_nothing_is_skipped():
    path, skipped, _ = train(gradients())
    plain, _, _ = train(gradients(), deviations=None)
    assert not skipped.any()
    np.testing.assert_allclose(path, plain, rtol=1e-6)


def test_the_first_half_window_decides_nothing():
    _, skipped, _ = train(gradients([WINDOW // 2 - 1]))
    assert not skipped.any()
    _, skipped, _ = train(gradients([WINDOW // 2]))
    assert skipped[-1] == 1


def test_a_level_that_stays_is_no_spike():
    _, skipped, _ = train(gradients(range(WINDOW, STEPS)))
    assert 1 <= skipped[-1] < 10


def test_the_threshold_counts_standard_deviations_of_the_last_window():
    known = gradients()
    norms = np.linalg.norm(known, axis=1)[WINDOW : 2 * WINDOW]
    for sign, expected in ((-1, 0), (1, 1)):
        norm = norms.mean() + (6 + 0.1 * sign) * norms.std()
        last = jnp.full((1, 4), norm / 2, jnp.float32)
        _, skipped, _ = train(jnp.concatenate([known[: 2 * WINDOW], last]))
        assert skipped[-1] == expected


def test_what_is_not_finite_is_left_to_the_run():
    known = gradients().at[WINDOW].set(jnp.inf)
    path, skipped, _ = train(known)
    assert skipped[WINDOW] == 0 and not np.isfinite(path[WINDOW]).all()


def test_it_is_resumed_bitwise():
    whole = gradients([WINDOW + 9])
    _, _, expected = train(whole)
    _, _, half = train(whole[:WINDOW])
    held = jax.tree.map(np.asarray, half)
    _, _, resumed = train(whole[WINDOW:], jax.tree.map(jnp.asarray, held))
    for a, b in zip(*map(jax.tree.leaves, (resumed, expected)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert optax.tree.get(resumed, "skipped") == 1


@pytest.mark.parametrize("deviations", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_none_is_refused(deviations):
    with pytest.raises(UserError, match="skip_spikes must be above 0 or None"):
        OptimizerConfig(skip_spikes=deviations)
