"""Generation with a cache is the full pass, token by token, for every normalizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn

pytestmark = pytest.mark.core

# Rows of every kind, one a layer: compiling costs here, and so it costs once.
ROWS = (
    "softmax1",
    "ssmax",
    "multimax",
    "sparse_softmax",
    "r_softmax",
    "entmax",
    "sigmoid",
    "relu_power",
)
PROMPT = jnp.asarray([[3, 1, 4], [2, 7, 1]], jnp.int32)


@functools.cache
def model():
    config = nn.TransformerConfig(
        vocabulary=11,
        layers=len(ROWS),
        width=16,
        heads=2,
        kv_heads=1,
        mlp_width=16,
        normalizer=ROWS,
    )
    return nn.Transformer(config, rngs=nnx.Rngs(0))


def generate(*, temperature, seed=0):
    # Drawing by this kind of key is quicker to compile than by the default one.
    key = jax.random.key(seed, impl="rbg")
    return nn.generate(model(), PROMPT, 3, key=key, temperature=temperature)


@functools.cache
def passes():
    """The full pass over what is generated, and the same one position at a time.

    Of both, the logits and the output of every layer.
    """

    @nnx.jit
    def run(model, tokens):
        def step(caches, position):
            token = jax.lax.dynamic_slice_in_dim(tokens, position, 1, axis=1)
            logits, layers = model.run(token, start=position, caches=caches)
            outputs = [layer.output[:, 0] for layer in layers]
            return [layer.cache for layer in layers], (logits[:, 0], outputs)

        logits, layers = model.run(tokens)
        positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)
        _, cached = jax.lax.scan(step, model.empty_caches(*tokens.shape), positions)
        cached = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), cached)
        return (logits, [layer.output for layer in layers]), cached

    return run(model(), generate(temperature=0.0))


@pytest.mark.parametrize("layer", range(len(ROWS)), ids=ROWS)
def test_a_cached_step_is_the_full_pass(layer):
    (_, full), (_, cached) = passes()
    np.testing.assert_allclose(cached[layer], full[layer], atol=1e-5)


def test_logits_are_the_same_and_greedy_is_their_argmax():
    (full, _), (cached, _) = passes()
    np.testing.assert_allclose(cached, full, atol=1e-5)
    tokens = generate(temperature=0.0)
    np.testing.assert_array_equal(tokens[:, :3], PROMPT)
    np.testing.assert_array_equal(tokens[:, 3:], full[:, 2:-1].argmax(-1))


def test_one_key_is_one_sample():
    first, again, other = (generate(seed=s, temperature=3.0) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != other).any()
    for sample in (first, other):
        np.testing.assert_array_equal(sample[:, :3], PROMPT)
        assert sample.dtype == PROMPT.dtype and sample.shape == (2, 6)
    assert (np.asarray(first) != generate(temperature=0.0)).any()


def test_a_low_temperature_is_nearly_greedy():
    np.testing.assert_array_equal(generate(temperature=1e-6), generate(temperature=0.0))


@pytest.mark.parametrize(
    ("prompt", "length"), [(PROMPT, 0), (PROMPT[:, :0], 2), (PROMPT, -1)]
)
def test_nothing_to_start_from_or_to_add_is_refused(prompt, length):
    with pytest.raises(sj.UserError, match="at least 1, got"):
        nn.generate(model(), prompt, length, key=jax.random.key(0))
