"""The translation study: what its model sees, and what it reports of the weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data import translation_toy as toy
from softmax_jax.errors import UserError
from softmax_jax.evidence import locate
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies import translation, translation_figures
from softmax_jax.evidence.studies.translation import TranslationConfig
from softmax_jax.evidence.studies.translation_model import EncoderDecoder, Weights
from softmax_jax.training.config import from_mapping

SMALL = dict(layers=1, width=8, heads=2, words=8, longest=5)


def model_of(**changes) -> EncoderDecoder:
    config = TranslationConfig(**{**SMALL, **changes})
    return EncoderDecoder(config, rngs=nnx.Rngs(params=0, output_norm=0))


@functools.cache
def sentences() -> toy.TranslationBatch:
    draw = jax.jit(toy.batch, static_argnums=(2, 3, 4))
    spoken = jax.jit(toy.language, static_argnums=1)(jax.random.key(0), 8)
    return draw(jax.random.key(1), spoken, 6, 2, 5)


@pytest.mark.slow
def test_the_decoder_sees_the_past_and_the_sentence_alone() -> None:
    graph, params = nnx.split(model_of(normalizer="relu", output_norm="gated"))
    forward = jax.jit(lambda *batch: nnx.merge(graph, params)(*batch)[0])
    drawn = sentences()
    source, visible, inputs = drawn.source, drawn.source_visible, drawn.inputs
    logits = forward(source, visible, inputs)
    padded = forward(jnp.where(visible, source, 7), visible, inputs)
    np.testing.assert_array_equal(padded, logits)
    later = forward(source, visible, inputs.at[:, 4].set(3))
    np.testing.assert_array_equal(later[:, :4], logits[:, :4])
    assert not np.allclose(later[:, 4:], logits[:, 4:])
    other = forward(source.at[:, 0].set((source[:, 0] + 1) % 8), visible, inputs)
    assert not np.allclose(other[:, 0], logits[:, 0])


def test_arms_start_from_the_same_parameters() -> None:
    bare, gated = (nnx.state(model_of(output_norm=x)) for x in (None, "gated"))
    bare, gated = (dict(nnx.to_flat_state(x)) for x in (bare, gated))
    assert {path[-2] for path in gated.keys() - bare.keys()} == {"output_norm"}
    for path, variable in bare.items():
        np.testing.assert_array_equal(variable[...], gated[path][...])


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(UserError, match="None or one of rms, .*, got 'x'"):
        model_of(output_norm="x")


def test_what_is_reported_of_weights_that_are_known() -> None:
    """One head aligns every word, one every word a step late, the third looks away."""
    drawn = sentences()
    late, normal = jnp.zeros((2, 6, 11, 5))
    known = drawn.alignment.astype(jnp.float32)
    normal = normal.at[:, :-1].set(known)
    late = late.at[:, 1:].set(2 * known)
    cross = jnp.stack([normal, late, jnp.zeros_like(late)], axis=1)
    dense = [jnp.full((6, 3, n, n), 1 / n) for n in (5, 11)]
    weights = Weights(*((x,) for x in (*dense, cross)))
    found = jax.jit(translation.examined)(weights, drawn)
    assert found["aer_best_normal@1"] == found["aer_best_shifted@1"] == 0
    assert found["aer_best_head"] == 0
    assert found["aer_shifted@1"] == found["aer"] == 0  # the larger weight wins
    assert 0.2 < found["aer_normal@1"] < 1
    words = np.asarray(drawn.alignment.any(-1).sum(-1))
    rows, length = words + 1, np.asarray(drawn.source_visible.sum(-1))
    zeros = 1 - 2 * words.sum() / (3 * rows * length).sum()
    assert found["sparsity@cross"] == pytest.approx(zeros)
    assert found["null_rate@cross"] == pytest.approx(
        1 - 2 * words.sum() / (3 * rows.sum())
    )
    assert found["sparsity@encoder"] == found["null_rate@decoder"] == 0
    assert found["head_diversity@encoder"] == pytest.approx(0, abs=1e-6)
    assert 0 < found["head_diversity@cross"] < np.log(2)


def test_claims_ask_for_what_is_measured_and_the_figure_shows_it(tmp_path) -> None:
    home = locate.find_experiment("rela", None)
    study = locate.load_module(home / "config.py").get_config("quick").translation
    claims = locate.load_module(home / "claims.py").CLAIMS
    arms = study.to_dict()["arms"]
    for differences in arms.values():
        from_mapping(TranslationConfig, study.base.to_dict() | differences)
    graph, params = nnx.split(model_of())
    judged = jax.eval_shape(
        lambda *x: translation._judge(graph, *x), params, sentences()
    )
    for claim in claims:
        if claim.sizes:
            assert claim.metric in judged
            assert {claim.treatment, claim.control} - {None} <= arms.keys()
    metrics = dict.fromkeys(judged, 0.5)
    found = [
        Result("translation", arm, 0, metrics, "", 0.0, {}, "", {}) for arm in arms
    ]
    assert all(path.exists() for path in translation_figures.draw(found, tmp_path))
