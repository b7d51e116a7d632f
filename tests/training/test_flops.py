"""The formula counts what XLA counts, and divides by what the vendor promises."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from softmax_jax import nn
from softmax_jax.training.flops import PEAK, step_flops, utilization

BATCH, LENGTH, SOURCE = 4, 96, 48
SIZES = dict(layers=2, width=128, heads=2, head_width=64, implementation="reference")


def counted(make, *inputs):
    """Floating point operations that XLA counts in the gradient of a loss."""
    graph, state = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def loss(state, *inputs):
        return (nnx.merge(graph, state)(*inputs) ** 2).mean()

    return jax.jit(jax.grad(loss)).lower(state, *inputs).cost_analysis()["flops"]


def tokens(length):
    return jax.ShapeDtypeStruct((BATCH, length), jnp.int32)


@pytest.mark.parametrize(
    "options",
    [dict(), dict(kv_heads=1, output_gate=True, tied=False), dict(heads=8)],
)
def test_a_decoder_is_counted(options):
    config = nn.TransformerConfig(**SIZES | dict(vocabulary=500) | options)
    xla = counted(functools.partial(nn.Transformer, config), tokens(LENGTH))
    # XLA counts the scores that a mask hides too.
    ours = step_flops(config, BATCH, LENGTH, halve_causal=False)
    assert ours == pytest.approx(xla, rel=0.05)


def test_other_models_are_counted():
    config = nn.EncoderDecoderConfig(**SIZES, vocabulary=500)
    make = functools.partial(nn.EncoderDecoder, config)
    xla = counted(make, tokens(SOURCE), tokens(LENGTH))
    ours = step_flops(config, BATCH, LENGTH, SOURCE, halve_causal=False)
    assert ours == pytest.approx(xla, rel=0.05)
    vision = nn.VisionTransformerConfig(**SIZES, classes=500, image_size=80, patch=8)
    images = jax.ShapeDtypeStruct((BATCH, 80, 80, 3), jnp.float32)
    xla = counted(functools.partial(nn.VisionTransformer, vision), images)
    assert step_flops(vision, BATCH, 0) == pytest.approx(xla, rel=0.05)


def test_the_formula_is_the_one_that_is_stated():
    config = nn.TransformerConfig(**SIZES, vocabulary=500)
    graph = nnx.eval_shape(lambda: nn.Transformer(config, rngs=nnx.Rngs(0)))
    kernels = [
        leaf.size
        for path, leaf in nnx.to_flat_state(nnx.state(graph))
        if path[-1] in ("kernel", "embedding")
    ]
    per_token = 6 * sum(kernels) + 6 * 2 * 2 * 64 * LENGTH
    assert step_flops(config, BATCH, LENGTH) == per_token * BATCH * LENGTH
    encoder = nn.EncoderConfig(**SIZES, mlp_width=128)
    per_token = 6 * 2 * 128 * 7 * 128 + 12 * 2 * 2 * 64 * LENGTH
    assert step_flops(encoder, BATCH, LENGTH) == per_token * BATCH * LENGTH


def test_utilization_is_a_share_of_what_all_devices_can_do():
    assert utilization(3 * 197e12, 2.0, 3, "TPU v5 lite") == pytest.approx(0.5)
    assert utilization(1e12, 1.0, 8) is None  # a CPU
    assert PEAK["NVIDIA H200"] == PEAK["NVIDIA H100 80GB HBM3"] == 1979e12 / 2
