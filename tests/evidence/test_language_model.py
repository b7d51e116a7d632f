"""The language-model study at toy size: training, swaps, probes."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import language_model, needle, positions
from softmax_jax.evidence.studies.language_model import LanguageModelConfig, rebuilt
from softmax_jax.nn import Transformer, TransformerConfig
from softmax_jax.training.config import RunConfig, from_mapping

MODEL = TransformerConfig(vocabulary=256, layers=1, width=16, heads=2)
TEXT = np.frombuffer(b"In the beginning was the word. " * 400, np.uint8)


def test_needles_are_where_they_are_said_to_be() -> None:
    made = needle.make(TEXT, 200, rows=5, seed=0)
    assert made.tokens.shape == (5, 200)
    for tokens, place in zip(made.tokens, made.places, strict=True):
        text = bytes(tokens.astype(np.uint8)).decode()
        code = text[-needle.CODE_LENGTH :]
        assert text[place : place + needle.CODE_LENGTH] == code
        assert text.count("the magic word of") == 2 and text.count(code) == 2
    with pytest.raises(UserError, match="no needle can be hidden in 50 bytes"):
        needle.make(TEXT, 50, rows=1, seed=0)


@pytest.mark.slow
def test_another_theta_keeps_every_weight_and_a_swap_its_own_parameters() -> None:
    model = Transformer(MODEL, rngs=nnx.Rngs(1))
    tokens = jnp.asarray(TEXT[None, :24], jnp.int32)
    same = rebuilt(model, rope_theta=MODEL.rope_theta)
    np.testing.assert_array_equal(same(tokens), model(tokens))
    assert not jnp.allclose(rebuilt(model, rope_theta=5e5)(tokens), model(tokens))
    swapped = rebuilt(model, normalizer="ssmax(scale=0.0, bias=1.0)")
    np.testing.assert_allclose(swapped(tokens), model(tokens), atol=1e-5)
    again, fresh = (rebuilt(m, normalizer="ssmax(scale=0.5)") for m in (swapped, model))
    np.testing.assert_array_equal(again(tokens), fresh(tokens))
    assert not jnp.allclose(fresh(tokens), model(tokens))


def test_the_loss_by_position_is_that_of_the_second_half() -> None:
    model = Transformer(MODEL, rngs=nnx.Rngs(0))
    near = positions.loss(model, TEXT, length=16, context=1, rows=2)
    far = positions.loss(model, TEXT, length=16, context=2, rows=2)
    assert near["loss"] == pytest.approx(np.log(256), abs=0.5)
    assert far["loss"] != near["loss"]
    with pytest.raises(UserError, match="shorter than 160000"):
        positions.loss(model, TEXT, length=16, context=10_000, rows=1)


@pytest.fixture
def config(tmp_path: Path) -> LanguageModelConfig:
    (tmp_path / "text").write_bytes(TEXT.tobytes())
    mapping = {
        "model": {"vocabulary": 0, "layers": 1, "width": 16, "heads": 2},
        "data": {
            "name": f"file:{tmp_path / 'text'}",
            "validation_fraction": 0.2,
            "test_fraction": 0.2,
        },
        "optimizer": {"warmup": 1},
        "training": {"steps": 4, "batch_size": 8, "sequence_length": 64},
    }
    run = from_mapping(RunConfig, mapping)
    return LanguageModelConfig(
        run, contexts=(2,), theta_factors=(1,), rows=1, sample_length=8
    )


def outcome(
    config: LanguageModelConfig, folder: Path, model: dict | None = None, **changes
) -> Outcome:
    """What the arm in `folder` gives with these differences."""
    changed = dataclasses.replace(config.run.model, **(model or {}))
    run = dataclasses.replace(config.run, model=changed)
    arm = dataclasses.replace(config, run=run, **changes)
    return language_model.run(arm, 0, folder / "seed-0", folder.name)


SSMAX = {"normalizer": "ssmax(scale=0.24)", "learned": ()}


@pytest.mark.slow
def test_an_arm_trains_and_another_takes_its_parameters(
    config: LanguageModelConfig, tmp_path: Path
) -> None:
    trained = outcome(config, tmp_path / "softmax")
    assert trained.metrics.keys() >= {"train_loss", "validation_bits", "loss@2x"}
    assert trained.metrics.keys() >= {"needle_loss@2x", "needle_weight@2x"}
    assert len(trained.sample) > 32 and trained.sample.startswith("In the")
    swapped = outcome(
        config,
        tmp_path / "swapped",
        SSMAX,
        parameters_from="softmax",
        sample_length=0,
        theta_factors=(50,),
    )
    assert "train_loss" not in swapped.metrics
    assert swapped.metrics["loss@2x_theta50"] != trained.metrics["loss@2x"]


@pytest.mark.slow
def test_an_arm_switches_its_normalizer_late(
    config: LanguageModelConfig, tmp_path: Path
) -> None:
    plain = outcome(config, tmp_path / "softmax", rows=0, sample_length=0)
    switch = {"switch_from": "softmax", "switch_at": 0.5, "rows": 0, "sample_length": 0}
    late = outcome(config, tmp_path / "late", SSMAX, **switch)
    before = json.loads((tmp_path / "late/seed-0/before/config.json").read_text())
    assert before["training"]["stop_step"] == 2
    assert late.metrics["train_loss"] != plain.metrics["train_loss"]
    # A switch to the normalizer that was there already is no switch at all.
    same = outcome(config, tmp_path / "same", **switch)
    assert same.metrics["validation_loss"] == plain.metrics["validation_loss"]
