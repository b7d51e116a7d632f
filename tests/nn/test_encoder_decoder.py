"""The encoder-decoder: who sees whom, and that cached decoding is the full pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn

pytestmark = pytest.mark.core

HEADS, WIDTH = 2, 8
# A ratio, a threshold and an elementwise row.
ROWS = dict(
    normalizer="ssmax", encoder_normalizer="sparsemax", cross_normalizer="sigmoid"
)
SOURCE = jnp.asarray([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], jnp.int32)
LENGTHS = jnp.asarray([3, 5], jnp.int32)
INPUTS = jnp.asarray([[0, 2, 7, 1], [0, 8, 2, 8]], jnp.int32)


def config(**options) -> nn.EncoderDecoderConfig:
    sizes = dict(vocabulary=9, source_vocabulary=7, width=WIDTH, heads=HEADS)
    sizes |= dict(layers=1, mlp_width=WIDTH, kv_heads=1)
    return nn.EncoderDecoderConfig(**sizes | ROWS | options)


def model(**options) -> nn.EncoderDecoder:
    return nn.EncoderDecoder(config(**options), rngs=nnx.Rngs(0))


@functools.cache
def forward():
    graphdef, params = nnx.split(model())

    def run(source, inputs, lengths, segment_ids=None):
        return nnx.merge(graphdef, params)(
            source, inputs, source_lengths=lengths, segment_ids=segment_ids
        )

    return jax.jit(run)


def names(model) -> set[str]:
    flat = nnx.to_flat_state(nnx.state(model))
    return {".".join(map(str, path)) for path, _ in flat}


def loss_of(model):
    logits = model(SOURCE, INPUTS[:, :-1], source_lengths=LENGTHS)
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, INPUTS[:, 1:, None], -1).mean()


def test_the_decoder_sees_the_past_and_the_sentence():
    run = forward()
    logits = run(SOURCE, INPUTS, LENGTHS)
    assert logits.shape == (2, 4, 9) and logits.dtype == jnp.float32
    later = run(SOURCE, INPUTS.at[:, 2].set(4), LENGTHS)
    np.testing.assert_array_equal(later[:, :2], logits[:, :2])
    assert (np.abs(later - logits)[:, 2:].max(-1) > 1e-5).all()
    other = run(SOURCE.at[:, 2].set(0), INPUTS, LENGTHS)
    assert (np.abs(other - logits).max(-1) > 1e-5).all()


def test_padding_of_the_source_changes_nothing():
    run = forward()
    logits = run(SOURCE, INPUTS, LENGTHS)
    np.testing.assert_array_equal(run(SOURCE.at[0, 3:].set(6), INPUTS, LENGTHS), logits)
    alone = run(SOURCE[:, :3], INPUTS, jnp.asarray([3, 3], jnp.int32))
    np.testing.assert_allclose(logits[0], alone[0], atol=1e-5)


def test_packed_pairs_are_separate():
    run = forward()
    of_source = jnp.asarray([[0, 0, 0, 1, 1]] * 2, jnp.int32)
    of_target = jnp.asarray([[0, 0, 1, 1]] * 2, jnp.int32)
    full = jnp.asarray([5, 5], jnp.int32)
    packed = run(SOURCE, INPUTS, full, (of_source, of_target))
    first = run(SOURCE, INPUTS, full - 2)
    np.testing.assert_allclose(packed[:, :2], first[:, :2], atol=1e-5)
    # Alone at the start of a row, the second pair is seen by nothing else.
    source, inputs = jnp.roll(SOURCE, 2, axis=1), jnp.roll(INPUTS, 2, axis=1)
    second = run(source, inputs, full - 3)
    np.testing.assert_allclose(packed[:, 2:], second[:, :2], atol=1e-5)
    assert np.abs(packed - run(SOURCE, INPUTS, full))[:, 2:].max() > 1e-3


def test_cached_decoding_is_the_full_pass():
    @nnx.jit
    def both(model):
        memory, _ = model.encode(SOURCE, lengths=LENGTHS)
        layers = model.remember(memory)

        def step(caches, position):
            token = jax.lax.dynamic_slice_in_dim(INPUTS, position, 1, axis=1)
            logits, found = model.decoder.run(
                token, start=position, caches=caches, memory=layers
            )
            return [layer.cache for layer in found], logits[:, 0]

        caches = model.decoder.empty_caches(*INPUTS.shape)
        _, cached = jax.lax.scan(step, caches, jnp.arange(4, dtype=jnp.int32))
        full = model(SOURCE, INPUTS, source_lengths=LENGTHS)
        return jnp.moveaxis(cached, 0, 1), full

    cached, full = both(model(layers=2, positions="sinusoid"))
    np.testing.assert_allclose(cached, full, atol=1e-5)


def test_it_learns(losses):
    values = losses(model(output_norm="rms"), loss_of)
    assert values[0] > values[1] > values[2]


@pytest.mark.slow
def test_remat_changes_no_loss(losses):
    """Of three steps, so no gradient either, through the memory to the encoder too."""
    plain, remat = (losses(model(remat=remat), loss_of) for remat in ("none", "full"))
    np.testing.assert_allclose(remat, plain, rtol=1e-5)
    assert len(set(plain)) == 3


def test_every_place_may_have_its_own_normalizer():
    @nnx.jit
    def run(model):
        return model.run(SOURCE, INPUTS, source_lengths=LENGTHS, return_weights=True)

    mixed = model(
        normalizer="softmax1", encoder_normalizer="softmax", cross_normalizer="relu"
    )
    _, encoder, decoder = run(mixed)
    own, cross = decoder[0].weights, decoder[0].cross_weights
    np.testing.assert_allclose(encoder[0].weights.sum(-1), 1, atol=1e-5)
    assert not np.triu(own, 1).any() and (own.sum(-1) < 0.999).all()
    assert cross.shape == (2, HEADS, 4, 5) and not cross[0, ..., 3:].any()
    assert (cross[1] == 0).any() and (cross[1] > 0).any()


def test_a_shared_vocabulary_is_embedded_once():
    own, shared = names(model()), names(model(source_vocabulary=None))
    assert own - shared == {"encoder.embed.embedding"} and shared < own
    assert "decoder.blocks.0.cross.query.kernel" in shared
    memory = nnx.jit(lambda model: model.encode(SOURCE)[0].states)
    shared = model(source_vocabulary=None)
    before = memory(shared)
    shared.decoder.embed.embedding[...] += 1
    assert np.abs(memory(shared) - before).max() > 1e-3


def test_output_norms_may_draw_from_a_stream_of_their_own():
    rngs = dict(params=0, output_norm=0)
    bare, gated = (
        dict(
            nnx.to_flat_state(
                nnx.state(
                    nn.EncoderDecoder(config(output_norm=x), rngs=nnx.Rngs(**rngs))
                )
            )
        )
        for x in (None, "gated")
    )
    assert {path[-2] for path in gated.keys() - bare.keys()} == {"output_norm"}
    for path, variable in bare.items():
        np.testing.assert_array_equal(variable[...], gated[path][...])


def test_what_does_not_fit_gets_one_sentence():
    with pytest.raises(sj.UserError, match=r"cross_normalizer must be .* \(1\), got 2"):
        config(cross_normalizer=("softmax", "relu"))
    whole = model()
    memory = nn.Memory(jnp.zeros((2, 5, WIDTH)), segment_ids=jnp.zeros_like(SOURCE))
    for call, sentence in {
        lambda: whole.decoder(INPUTS): "this block needs memory",
        lambda: whole.encoder.run(SOURCE, memory=memory): "this block takes no memory",
        lambda: whole.decoder.run(INPUTS, memory=memory): "the memory but not for x",
    }.items():
        with pytest.raises(sj.UserError, match=sentence):
            jax.eval_shape(call)
