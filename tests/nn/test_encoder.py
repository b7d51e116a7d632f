"""The encoder: what every position sees, and that it is what plain jnp computes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn

pytestmark = pytest.mark.core

VOCABULARY, WIDTH, HEADS = 11, 8, 2
# A ratio, a threshold and an elementwise row, each with the number of keys in it.
ROWS = ("ssmax", "sparsemax", "sigmoid")
TOKENS = jnp.asarray([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], jnp.int32)
RANDOM = np.random.default_rng(0)


def encoder(**options) -> nn.Encoder:
    sizes = dict(vocabulary=VOCABULARY, layers=len(ROWS), width=WIDTH, heads=HEADS)
    sizes |= dict(mlp_width=WIDTH, normalizer=ROWS)
    return nn.Encoder(nn.EncoderConfig(**sizes | options), rngs=nnx.Rngs(0))


@functools.cache
def of_embeddings():
    """An encoder of embeddings [1, T, width], compiled for what it is given."""
    graphdef, params = nnx.split(encoder(vocabulary=None))
    return jax.jit(lambda x, **options: nnx.merge(graphdef, params)(x, **options))


EMBEDDED = jnp.asarray(RANDOM.normal(size=(2, 6, WIDTH)), jnp.float32)
LENGTHS = jnp.asarray([4, 6], jnp.int32)


def normed(x, scale, bias):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * scale + bias


def by_hand(params, tokens, lengths):
    """A block with LayerNorm, biases and gelu between sinusoids and a last norm."""
    angle = np.arange(tokens.shape[1])[:, None] / 10_000 ** (np.arange(0, WIDTH, 2) / 8)
    x = params["embed"]["embedding"][tokens] * WIDTH**0.5
    x = x + np.concatenate([np.sin(angle), np.cos(angle)], -1)
    block = params["blocks"][0]
    heads = block["attention"]
    y = normed(x, **block["attention_norm"])
    q, k, v = (
        np.einsum("btw,whd->bhtd", y, heads[name]["kernel"])
        + heads[name]["bias"][:, None]
        for name in ("query", "key", "value")
    )
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(WIDTH // HEADS)
    seen = np.arange(tokens.shape[1]) < lengths[:, None, None, None]
    weights = np.where(seen, np.exp(scores), 0)
    output = weights / weights.sum(-1, keepdims=True) @ v
    out = heads["out"]
    x = x + np.einsum("bhtd,hdw->btw", output, out["kernel"]) + out["bias"]
    up, down = block["mlp"]["up"], block["mlp"]["down"]
    hidden = normed(x, **block["mlp_norm"]) @ up["kernel"] + up["bias"]
    hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    x = x + hidden @ down["kernel"] + down["bias"]
    return normed(x, **params["final_norm"])


def test_softmax_is_what_is_computed_by_hand():
    model = encoder(
        layers=1,
        normalizer="softmax",
        positions="sinusoid",
        mlp="gelu",
        norm="layer",
        attention_bias=True,
    )
    params = jax.tree.map(
        lambda x: jnp.asarray(RANDOM.normal(size=x.shape) / 2, jnp.float32),
        nnx.state(model),
    )
    nnx.update(model, params)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(params))
    expected = by_hand(wide, np.asarray(TOKENS), np.asarray(LENGTHS))
    states = nnx.jit(lambda model: model(TOKENS, lengths=LENGTHS))(model)
    np.testing.assert_allclose(states, expected, atol=1e-4)


def test_every_position_sees_every_other():
    run = of_embeddings()
    before = run(EMBEDDED)
    for position in (0, 5):
        after = run(EMBEDDED.at[:, position].add(1))
        assert (np.abs(after - before).max(-1) > 1e-5).all()


def test_what_is_behind_the_length_reaches_nothing():
    run = of_embeddings()
    padded = run(EMBEDDED, lengths=LENGTHS)
    planted = run(EMBEDDED.at[0, 4:].set(jnp.nan), lengths=LENGTHS)
    np.testing.assert_array_equal(planted[0, :4], padded[0, :4])
    np.testing.assert_array_equal(planted[1], padded[1])
    alone = run(EMBEDDED[:, :4])
    np.testing.assert_allclose(padded[0, :4], alone[0], atol=1e-5)
    assert np.abs(padded[1, :4] - alone[1]).max() > 1e-3


def test_segments_are_separate_documents():
    run = of_embeddings()
    segments = jnp.asarray([[0, 0, 0, 0, 1, 1]] * 2, jnp.int32)
    packed = run(EMBEDDED, segment_ids=segments)
    np.testing.assert_allclose(packed[:, :4], run(EMBEDDED[:, :4]), atol=1e-5)
    np.testing.assert_allclose(packed[:, 4:], run(EMBEDDED[:, 4:]), atol=1e-5)


def test_it_learns(losses):
    targets = jax.nn.one_hot(TOKENS, WIDTH)
    values = losses(encoder(), lambda model: ((model(TOKENS) - targets) ** 2).mean())
    assert values[0] > values[1] > values[2]


def test_tokens_are_their_embeddings():
    sizes = dict(layers=1, normalizer="softmax", positions="none")
    both, bare = encoder(**sizes), encoder(vocabulary=None, **sizes)
    bare.blocks, bare.final_norm = both.blocks, both.final_norm
    embedded = both.embed(TOKENS)
    np.testing.assert_array_equal(bare(embedded), both(TOKENS))
    (weights,) = nn.attention_weights(bare, embedded)
    assert weights.shape == (2, HEADS, 6, 6) and np.triu(weights, 1).any()
    with pytest.raises(sj.UserError, match="without vocabulary takes embeddings"):
        bare(TOKENS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(mlp="swish"), "mlp must be one of gated, gelu, relu, got 'swish'"),
        (dict(norm="batch"), "norm must be one of rms, layer, got 'batch'"),
        (dict(positions="learned"), "one of rope, sinusoid, none, got 'learned'"),
        (dict(positions="sinusoid", width=9, heads=1), "even width, got 9"),
    ],
)
def test_a_wrong_configuration_gets_one_sentence(options, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        encoder(**options)
