"""Configurations from nested mappings and back, and the sentences for mistakes."""

import json
from pathlib import Path

import pytest

from softmax_jax.errors import UserError
from softmax_jax.evidence.locate import load_module
from softmax_jax.training import RunConfig, from_mapping, to_mapping
from softmax_jax.training.config import complete, filled_in
from softmax_jax.training.tasks import objective

CONFIGS = sorted(Path(__file__).parents[2].joinpath("configs").glob("*.py"))

MAPPING = {
    "model": {
        "vocabulary": 0,
        "layers": 2,
        "normalizer": ["softmax", "ssmax"],
        "rope_theta": 5,
    },
    "data": {"name": "stdlib"},
    "optimizer": {"learning_rate": 1},
    "training": {"steps": 10, "batch_size": 4, "sequence_length": 8},
}


def changed(group, **settings):
    return MAPPING | {group: MAPPING[group] | settings}


def test_mapping_becomes_dataclasses_and_comes_back_from_json():
    config = from_mapping(RunConfig, MAPPING)
    assert config.model.normalizer == ("softmax", "ssmax")
    assert config.model.rope_theta == 5.0 and type(config.model.rope_theta) is float
    assert config.data.name == "stdlib" and config.training.keep == 2
    assert from_mapping(RunConfig, json.loads(json.dumps(to_mapping(config)))) == config


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (changed("model", normaliser="ssmax"), "model.normaliser .* model.normalizer"),
        (MAPPING | {"optimiser": {}}, "optimiser is not .* mean optimizer"),
        (changed("training", steps=2.5), "training.steps=2.5 should be of type int"),
        (changed("training", steps=True), "training.steps=True should be of type int"),
        (changed("training", stop_step="x"), r"training.stop_step='x' .* int \| None"),
        (MAPPING | {"training": {"steps": 1}}, "training.batch_size is missing"),
        (MAPPING | {"data": "kjv"}, "data='kjv' should be of type TextConfig"),
    ],
)
def test_mistakes_are_told_in_one_sentence(mapping, message):
    with pytest.raises(UserError, match=message):
        from_mapping(RunConfig, mapping)


def test_the_vocabulary_is_that_of_the_data():
    config = from_mapping(RunConfig, MAPPING)
    filled = filled_in(config, vocabulary=256)
    assert filled.model.vocabulary == 256
    assert filled_in(filled, vocabulary=256) == filled
    with pytest.raises(UserError, match="model.vocabulary=256, but .* the data is 99"):
        filled_in(filled, vocabulary=99)


def test_last_step_is_the_smaller_of_both():
    for stop_step, last in ((None, 10), (4, 4), (40, 10)):
        config = from_mapping(RunConfig, changed("training", stop_step=stop_step))
        assert config.training.last_step == last


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["quick", "small", "paper"])
def test_the_base_recipes_are_configurations(path, size):
    config = from_mapping(RunConfig, load_module(path).get_config(size).to_dict())
    if size == "paper":  # compiled without the data
        assert complete(config) and objective(config).shapes()
    assert (config.mesh.data, config.training.seed) == (-1, 0)
