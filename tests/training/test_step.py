"""The step means the same on every mesh and with every accumulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.training import program as programs
from softmax_jax.training.sharding import Feed
from softmax_jax.training.tasks import language_model

WAYS = {
    "2x2x2": {"data": 2, "fsdp": 2, "tensor": 2},
    "2 devices, 4 parts": {"data": 2, "accumulation": 4},
}


def run(config, steps=3):
    """Losses of the first steps on random tokens, and the state after them."""
    program = programs.build(config)
    tokens = np.random.default_rng(0).integers(0, 256, (steps, 8, 17), np.int32)
    with jax.set_mesh(program.mesh):
        state, losses = program.initial(), []
        for batch in tokens:
            state, values = program.train_step(
                state, Feed(program.batch_sharding).put(batch)
            )
            losses.append(float(values["loss"]))
    return losses, state


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_neither_mesh_nor_accumulation_changes_the_steps(config, way):
    (losses, one), (others, other) = run(config()), run(config(**way))
    np.testing.assert_allclose(others, losses, rtol=1e-6)
    assert losses[2] < losses[0]
    for a, b in zip(*map(jax.tree.leaves, (one.params, other.params)), strict=True):
        np.testing.assert_allclose(jax.device_get(b), jax.device_get(a), atol=1e-6)
    assert int(other.step) == 3


@pytest.mark.slow
def test_layers_in_a_loop_take_the_same_steps(config):
    losses, _ = run(config())
    looped, _ = run(looped_layers(config(data=2, fsdp=2, tensor=2)))
    np.testing.assert_allclose(looped, losses, rtol=1e-6)


def looped_layers(config):
    model = dataclasses.replace(config.model, scan=True, remat="dots")
    return dataclasses.replace(config, model=model)


@pytest.mark.slow
def test_sequences_split_over_devices_take_the_same_steps(config):
    losses, _ = run(config())
    split = config(data=2, context=4, method="ring", balanced=True)
    found, _ = run(split)
    np.testing.assert_allclose(found, losses, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("head", [None, "mos(components=2)"])
def test_a_large_vocabulary_takes_the_same_steps_in_parts(config, head, monkeypatch):
    """Logits that are never held, with classes and tokens split over devices."""
    model = dataclasses.replace(config().model, head=head)
    whole = dataclasses.replace(config(), model=model)
    losses, _ = run(whole)
    monkeypatch.setattr(language_model, "LARGE", 0)
    split = config(data=2, fsdp=2, tensor=2, log_every=5)
    found, _ = run(dataclasses.replace(split, model=model))
    np.testing.assert_allclose(found, losses, rtol=2e-6)


def test_loss_is_the_mean_cross_entropy_of_the_next_token(config):
    program = programs.build(config())
    with jax.set_mesh(program.mesh):
        params = program.initial().params
    tokens = np.random.default_rng(1).integers(0, 256, (8, 17), np.int32)
    model = nnx.merge(program.graph, params)
    logits = np.asarray(model(jnp.asarray(tokens[:, :-1])), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, tokens[:, 1:, None], -1).mean()
    with jax.set_mesh(program.mesh):
        found = program.eval_step(params, Feed(program.batch_sharding).put(tokens))
    assert found["count"] == 8 * 16
    np.testing.assert_allclose(found["loss"] / 128, expected, rtol=1e-6)


def test_the_state_is_donated(config):
    program = programs.build(config())
    tokens = Feed(program.batch_sharding).put(np.zeros((8, 17), np.int32))
    with jax.set_mesh(program.mesh):
        state = program.initial()
        program.train_step(state, tokens)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
