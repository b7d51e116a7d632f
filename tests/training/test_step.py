"""The step means the same on every mesh and with every accumulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.training import program as programs
from softmax_jax.training.sharding import put_batch

MESHES = [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}]


def run(config, steps=3):
    """Losses of the first steps on random tokens, and the parameters after them."""
    program = programs.build(config)
    tokens = np.random.default_rng(0).integers(0, 256, (steps, 8, 17), np.int32)
    state, losses = program.initial(), []
    for batch in tokens:
        state, values = program.train_step(
            state, put_batch(batch, program.batch_sharding)
        )
        losses.append(float(values["loss"]))
    return losses, jax.device_get(jax.tree.leaves(state.params)), state


@pytest.mark.parametrize("mesh", MESHES, ids=["8x1x1", "2x2x2"])
def test_losses_do_not_depend_on_the_mesh(config, mesh):
    one, many = run(config())[0], run(config(**mesh))[0]
    np.testing.assert_allclose(many, one, rtol=1e-6)
    assert one[2] < one[0]


def test_micro_batches_add_up_to_the_batch(config):
    whole, parts = run(config()), run(config(accumulation=4))
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-6)
    for a, b in zip(parts[1], whole[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert int(parts[2].step) == 3


def test_loss_is_the_mean_cross_entropy_of_the_next_token(config):
    program = programs.build(config())
    params = program.initial().params
    tokens = np.random.default_rng(1).integers(0, 256, (8, 17), np.int32)
    model = nnx.merge(program.graph, params)
    logits = np.asarray(model(jnp.asarray(tokens[:, :-1])), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, tokens[:, 1:, None], -1).mean()
    found = program.eval_step(params, put_batch(tokens, program.batch_sharding))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_state_is_donated(config):
    program = programs.build(config())
    state = program.initial()
    tokens = put_batch(np.zeros((8, 17), np.int32), program.batch_sharding)
    program.train_step(state, tokens)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
