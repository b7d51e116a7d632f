"""Which rule each parameter falls under, and what the rules do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.nn import (
    NormalizerParam,
    Transformer,
    TransformerConfig,
    VisionTransformer,
    VisionTransformerConfig,
)
from softmax_jax.optim import OptimizerConfig, labels, learning_rate, make_optimizer


class Model(nnx.Module):
    def __init__(self):
        self.matrix = nnx.Param(jnp.ones((2, 3)))
        self.gain = nnx.Param(jnp.ones(3))
        self.scale = NormalizerParam(jnp.ones((2, 1)))


PARAMS = nnx.state(Model(), nnx.Param)


def first_step(config, gradient):
    """The updates of the first step, and the optimizer's state after it."""
    optimizer = make_optimizer(config, 10, PARAMS)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), PARAMS)
    return jax.jit(optimizer.update)(gradients, optimizer.init(PARAMS), PARAMS)


def updates(config, gradient=0.0):
    """The change of each parameter in the first step."""
    change, _ = first_step(config, gradient)
    return {name: np.unique(np.asarray(x[...])) for name, x in change.items()}


def test_labels_go_by_type_and_rank():
    found = labels(PARAMS)
    assert dict(found) == {"matrix": "decay", "gain": "no_decay", "scale": "normalizer"}


def test_what_is_added_does_not_decay():
    config = VisionTransformerConfig(
        image_size=4, patch=2, classes=3, layers=1, width=8, heads=2
    )
    model = nnx.eval_shape(lambda: VisionTransformer(config, rngs=nnx.Rngs(0)))
    found = labels(nnx.state(model, nnx.Param))
    assert found.positions == found.class_token == "no_decay"
    attention = found.blocks[0].attention
    assert (attention.query.kernel, attention.query.bias) == ("decay", "no_decay")


def test_only_matrices_decay():
    change = updates(OptimizerConfig(learning_rate=0.5, warmup=0, weight_decay=0.1))
    np.testing.assert_allclose(change["matrix"], -0.05, rtol=1e-5)
    assert change["gain"] == change["scale"] == 0


def test_normalizers_have_their_own_learning_rate():
    config = OptimizerConfig(
        learning_rate=0.5,
        warmup=0,
        weight_decay=0.0,
        normalizer_learning_rate_factor=3.0,
    )
    change = updates(config, gradient=1.0)
    np.testing.assert_allclose(change["gain"], -0.5, rtol=1e-5)
    np.testing.assert_allclose(change["scale"], 3 * change["gain"], rtol=1e-5)


def test_the_gradient_is_clipped_before_the_moments():
    config = OptimizerConfig(warmup=0, clip=1.0)
    _, state = first_step(config, 100.0)
    first_moment = optax.tree.norm(optax.tree.get(state, "mu"))
    np.testing.assert_allclose(first_moment, 1 - config.b1, rtol=1e-5)


def test_schedule_rises_and_falls_to_its_final_fraction():
    schedule = learning_rate(OptimizerConfig(1.0, warmup=10, final_fraction=0.2), 100)
    rates = [float(schedule(step)) for step in (0, 5, 10, 55, 100, 200)]
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 0.6, 0.2, 0.2], atol=1e-6)


def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match=r"optimizer.warmup=10 must lie in \[0, 10\)"):
        learning_rate(OptimizerConfig(warmup=10), 10)


@pytest.mark.slow
def test_muon_orthogonalizes_the_matrices_of_the_blocks():
    config = TransformerConfig(vocabulary=11, layers=1, width=16, heads=2)
    params = nnx.state(Transformer(config, rngs=nnx.Rngs(0)), nnx.Param)
    settings = OptimizerConfig(
        name="muon", learning_rate=1.0, warmup=0, weight_decay=0.0
    )
    optimizer = make_optimizer(settings, 10, params)
    noise = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(x.size), x.shape), params
    )
    change, _ = jax.jit(optimizer.update)(noise, optimizer.init(params), params)
    block, embedding = change.blocks[0], change.embed.embedding
    for kernel in (block.attention.query.kernel, block.mlp.down.kernel):
        matrix = np.asarray(kernel[...]).reshape(kernel.shape[0], -1)
        singular = np.linalg.svd(matrix, compute_uv=False)
        # Five steps of its iteration leave the singular values near 1, not at it.
        target = 0.2 * np.sqrt(max(matrix.shape))
        assert (singular > 0.6 * target).all() and (singular < 1.3 * target).all()
    out = np.asarray(block.attention.out.kernel[...]).reshape(16, 16)
    assert np.linalg.svd(out, compute_uv=False).min() > 0.4
    # Adam's first step: the sign of the gradient.
    np.testing.assert_allclose(np.abs(embedding[...]), 1, rtol=1e-3)


def test_an_optimizer_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="adamw or muon, got 'sgd'"):
        OptimizerConfig(name="sgd")
