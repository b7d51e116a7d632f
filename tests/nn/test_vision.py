"""The Vision Transformer: its size, its patches, and what its logits are read off."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn
from softmax_jax.nn.vision import patches

pytestmark = pytest.mark.core

# A ratio, a threshold and an elementwise row.
ROWS = ("softmax1", "sparsemax", "relu_power")
IMAGES = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 1)), jnp.float32)


def config(**options) -> nn.VisionTransformerConfig:
    sizes = dict(classes=5, image_size=4, patch=2, channels=1)
    sizes |= dict(layers=1, width=8, heads=2, mlp_width=8)
    return nn.VisionTransformerConfig(**sizes | options)


def model(**options) -> nn.VisionTransformer:
    return nn.VisionTransformer(config(**options), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("options", "published"),
    [
        (dict(), 5_717_416),
        (dict(width=384, heads=6), 22_050_664),
        # Without the class token and its position.
        (dict(width=384, heads=6, pooling="mean"), 22_050_664 - 2 * 384),
    ],
    ids=["DeiT-Ti", "DeiT-S", "DeiT-S, mean"],
)
def test_it_has_the_parameters_of_deit(options, published):
    config = nn.VisionTransformerConfig(classes=1000, **options)
    shapes = nnx.eval_shape(lambda: nn.VisionTransformer(config, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(shapes, nnx.Param))
    assert sum(math.prod(leaf.shape) for leaf in leaves) == published


def test_patches_are_squares_of_the_image_row_by_row():
    image = jnp.arange(2 * 4 * 4 * 1).reshape(2, 4, 4, 1)
    got = patches(image, config())
    assert got.shape == (2, 4, 4)
    np.testing.assert_array_equal(got[0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(got[1, 2], [24, 25, 28, 29])


@pytest.mark.parametrize(
    ("pooling", "positions"),
    [("token", "none"), ("mean", "none"), ("token", "learned")],
)
def test_without_positions_the_order_of_patches_does_not_matter(pooling, positions):
    turned = IMAGES[:, :, [2, 3, 0, 1]]
    run = nnx.jit(lambda model, images: model(images))
    logits = run(model(positions=positions, pooling=pooling), IMAGES)
    other = run(model(positions=positions, pooling=pooling), turned)
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    assert (np.abs(other - logits).max() < 1e-5) == (positions == "none")


def test_the_class_token_is_a_position_of_its_own():
    @nnx.jit
    def weights(model):
        return nn.attention_weights(model, IMAGES)

    for pooling, tokens in (("token", 5), ("mean", 4)):
        (found,) = weights(model(pooling=pooling))
        assert found.shape == (2, 2, tokens, tokens)
        assert (found > 0).all()


def test_it_learns(losses):
    def loss(model):
        return -jax.nn.log_softmax(model(IMAGES))[
            jnp.arange(2), jnp.array([3, 1])
        ].mean()

    values = losses(model(layers=len(ROWS), normalizer=ROWS), loss)
    assert values[0] > values[1] > values[2]


def test_bfloat16_is_for_activations_alone():
    half = model(dtype="bfloat16")
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(half)))
    with jax.numpy_dtype_promotion("standard"):  # Flax itself is not strict here.
        logits, layers = jax.eval_shape(half.run, IMAGES)
    assert logits.dtype == jnp.float32 and layers[0].output.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(patch=3), "image_size must be a multiple of patch, got 4 and 3"),
        (dict(pooling="max"), "pooling must be one of token, mean, got 'max'"),
        (dict(positions="rope"), "positions must be one of learned, none, got 'rope'"),
        (dict(classes=-1), "classes must not be below 0, got -1"),
    ],
)
def test_a_wrong_configuration_gets_one_sentence(options, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        config(**options)


def test_images_of_another_size_are_refused():
    with pytest.raises(sj.UserError, match=r"images must be \[B, 4, 4, 1\], got"):
        jax.eval_shape(model(), IMAGES[:, :2])
