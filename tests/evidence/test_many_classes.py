"""The many-class study goes on from the model it says, and counts what it says."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data.classes import Rows
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies import many_classes
from softmax_jax.evidence.studies.many_classes import Classifier, ManyClassesConfig
from softmax_jax.optim import OptimizerConfig

TINY = ManyClassesConfig(
    branches=(3, 4),
    spreads=(2.0, 1.0),
    features=8,
    noise=0.3,
    k=2,
    width=16,
    checkpoints=(100,),
    steps=200,
    batch_size=32,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup=10),
)


@pytest.mark.slow
def test_training_and_going_on(tmp_path: Path) -> None:
    """What goes on starts where the other arm ended, and the gap is a difference."""
    found = {}
    for arm, changes in {
        "softmax": {},
        "tuned": {"loss": "sparse_softmax", "parameters_from": "softmax"},
    }.items():
        config = dataclasses.replace(TINY, **changes)
        folder = tmp_path / arm / "seed-0"
        found[arm] = many_classes.run(config, 0, folder, "").metrics
    first, tuned = found["softmax"], found["tuned"]
    assert first["accuracy@0"] < 0.4 < 0.8 < first["accuracy"]
    assert first["accuracy"] == first["accuracy@200"] == tuned["accuracy@0"]
    assert tuned["logit_range@0"] == pytest.approx(first["logit_range"])
    assert tuned["logit_range"] != pytest.approx(first["logit_range"], rel=1e-3)
    assert tuned["accuracy@100"] > 0.8


def test_what_is_measured_by_hand() -> None:
    model = Classifier(TINY, rngs=nnx.Rngs(0))
    model.hidden.kernel[...] = jnp.zeros_like(model.hidden.kernel[...])
    model.out.bias[...] = -jnp.arange(12.0)
    rows = Rows(jnp.zeros((4, 8)), jnp.array([0, 1, 2, 11]))
    measured = many_classes._judge(TINY, model, rows)
    assert measured == {"accuracy": 0.25, "logit_range": 11.0, "label_kept": 0.5}


@pytest.mark.slow
def test_the_target_domain_is_displaced_and_drawn_anew() -> None:
    key = jax.random.key(0)
    source, _ = many_classes._data(TINY, key)
    again, _ = many_classes._data(TINY, key)
    target, test = many_classes._data(dataclasses.replace(TINY, domain="target"), key)
    np.testing.assert_array_equal(source.features, again.features)
    means = [
        np.asarray(rows.features).reshape(12, -1, 8).mean(1)
        for rows in (source, target)
    ]
    moved = np.std(means[1] - means[0])
    assert moved == pytest.approx(TINY.shift, rel=0.4)
    assert not np.array_equal(test.features[0], target.features[0])


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loss='sparse' is unknown"):
        ManyClassesConfig(loss="sparse")
    config = dataclasses.replace(TINY, parameters_from="softmax")
    with pytest.raises(UserError, match="has to be run first"):
        many_classes.run(config, 0, tmp_path / "tuned" / "seed-0", "")
