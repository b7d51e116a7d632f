"""Stacked blocks are optimized as the same blocks one by one."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from softmax_jax.nn import Transformer, TransformerConfig
from softmax_jax.optim import OptimizerConfig, labels, make_optimizer

LAYERS = 2


@functools.cache
def params(scan):
    config = TransformerConfig(
        vocabulary=7,
        layers=LAYERS,
        width=8,
        heads=2,
        mlp_width=12,
        normalizer="ssmax",
        scan=scan,
    )
    return nnx.state(Transformer(config, rngs=nnx.Rngs(0)), nnx.Param)


def stack(blocks):
    """What `scan` makes of the parameters of single blocks."""
    return jax.tree.map(lambda *x: np.stack(x), *(blocks[i] for i in range(LAYERS)))


def test_a_stacked_gain_is_no_matrix():
    stacked, single = labels(params(True)), labels(params(False))
    assert stacked.embed.embedding == "decay"
    assert dict(nnx.to_flat_state(stacked.blocks)) == dict(
        nnx.to_flat_state(single.blocks[0])
    )
    assert stacked.blocks.attention_norm.scale == "no_decay"


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_updates_are_those_of_single_blocks(name):
    def change(scan):
        config = OptimizerConfig(name=name, learning_rate=1.0, warmup=0, clip=1e9)
        optimizer = make_optimizer(config, 10, params(scan))
        # A gradient that differs from layer to layer, as the parameters do.
        update = jax.jit(lambda p: optimizer.update(p, optimizer.init(p), p)[0])
        return update(params(scan))

    stacked, single = change(True), change(False)
    pairs = zip(
        *map(jax.tree.leaves, (stacked.blocks, stack(single.blocks))), strict=True
    )
    for found, expected in pairs:
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
