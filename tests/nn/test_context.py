"""A Transformer trains as on one device when its sequences are split over two."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

import softmax_jax as sj
from softmax_jax import nn

MESH = jax.make_mesh((2, 2), ("data", "context"), (AxisType.Auto,) * 2)
B, T, VOCABULARY = 2, 8, 11
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (B, T + 1))
CONFIG = nn.TransformerConfig(
    vocabulary=VOCABULARY, layers=1, width=16, heads=2, normalizer="ssmax"
)


def mean_loss(partition):
    """Of the next token; the mean does not ask in which order the tokens lie."""

    def loss(model):
        order = np.arange(T) if partition is None else partition.order(T)[0]
        inputs, targets = TOKENS[:, :-1][:, order], TOKENS[:, 1:][:, order]
        logits, _ = model.run(jnp.asarray(inputs), partition=partition)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return losses.mean()

    return loss


@pytest.mark.parametrize(
    ("method", "balanced"),
    [
        pytest.param("gather", False, marks=pytest.mark.slow),
        pytest.param("gather", True, marks=pytest.mark.slow),
        pytest.param("ulysses", True, marks=pytest.mark.slow),
        pytest.param("ring", True, marks=pytest.mark.slow),
    ],
)
def test_two_steps_have_the_losses_of_one_device(losses, method, balanced):
    alone = losses(nn.Transformer(CONFIG, rngs=nnx.Rngs(0)), mean_loss(None))
    partition = sj.Partition("data", None, "context", method, balanced)
    with jax.set_mesh(MESH):
        model = nn.Transformer(CONFIG, rngs=nnx.Rngs(0))
        shared = losses(model, mean_loss(partition))
    assert shared[0] > shared[1] > shared[2]
    np.testing.assert_allclose(shared, alone, rtol=1e-6)


def test_a_cache_is_not_in_the_balanced_order():
    model = nn.Transformer(CONFIG, rngs=nnx.Rngs(0))
    partition = sj.Partition("data", None, "context", balanced=True)
    with jax.set_mesh(MESH), pytest.raises(sj.UserError, match="natural order"):
        caches = model.empty_caches(B, T)
        model.run(jnp.asarray(TOKENS[:, :T]), caches=caches, partition=partition)
