"""The multi-label study measures what it says."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data.multilabel import Parts, Rows
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies import multilabel
from softmax_jax.evidence.studies.multilabel import Classifier, MultilabelConfig
from softmax_jax.normalizers.sparsemax import sparsemax
from softmax_jax.optim import OptimizerConfig

QUICK = MultilabelConfig(
    sets=("easy",),
    width=16,
    steps=200,
    batch_size=32,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup=10, weight_decay=0.0),
)


def easy(name: str, seed: int) -> Parts:
    """Four labels, each the sign of its own feature; rows without labels left out."""
    features = np.random.default_rng(seed).choice([-1.0, 1.0], (600, 4))
    features = features[(features > 0).any(1)].astype(np.float32)
    rows = [Rows(x, x > 0) for x in np.split(features, [300, 400])]
    return Parts(*rows)


def test_f1_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], bool)
    support = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert multilabel.f1(support, labels) == pytest.approx((0.5 + 1 + 0) / 3)


def test_the_k_largest_of_each_row_ties_to_the_first() -> None:
    p = np.array([[0.1, 0.4, 0.5], [0.3, 0.3, 0.4]])
    found = multilabel.largest(p, np.array([1, 2]))
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 1]])


def test_the_divergence_by_hand_and_its_gradient_at_zeros() -> None:
    p, q = jnp.array([0.5, 0.5, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5, 0.0])
    assert float(multilabel.divergence(p, p)) == 0
    assert float(multilabel.divergence(p, q)) == pytest.approx(np.log(2) / 2)
    disjoint = multilabel.divergence(p, jnp.array([0.0, 0.0, 0.5, 0.5]))
    assert float(disjoint) == pytest.approx(np.log(2))
    found = jax.grad(lambda z: multilabel.divergence(sparsemax(z), q))(2 * p)
    assert jnp.isfinite(found).all() and jnp.abs(found).sum() > 0


def test_a_loss_of_its_own_has_the_gradient_p_minus_target() -> None:
    model = Classifier(4, 8, 4, rngs=nnx.Rngs(0))
    config = MultilabelConfig(normalizer="sparsemax", loss="own")
    batch = jax.tree.map(jnp.asarray, easy("", 0).test)
    logits, _ = model(batch.features)
    graph, params = nnx.split(model)

    def loss(params: nnx.State) -> jax.Array:
        return multilabel._objective(config, nnx.merge(graph, params), batch)

    found = jax.grad(loss)(params)["out"]["bias"][...]
    labels = batch.labels.astype(jnp.float32)
    target = labels / labels.sum(-1, keepdims=True)
    expected = (sparsemax(logits) - target).mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"loss": "own"}, {"normalizer": "r_softmax", "count": "predicted"}],
    ids=["softmax with a tuned threshold", "r_softmax"],
)
def test_an_easy_task_is_learned(changes: dict, monkeypatch) -> None:
    monkeypatch.setattr(multilabel.multilabel, "load", easy)
    config = dataclasses.replace(QUICK, **changes)
    metrics = multilabel.run(config, 0, Path(), "").metrics
    assert metrics["f1@easy"] == metrics["f1_generated"] > 0.85
    assert metrics["js@easy"] < 0.1
    assert 1.8 < metrics["support@easy"] < 2.4  # 32 / 15 labels in the mean


def test_r_softmax_gives_as_many_labels_as_it_is_told() -> None:
    config = MultilabelConfig(normalizer="r_softmax", count="true")
    logits = jax.random.normal(jax.random.key(0), (7, 7))
    share = jnp.arange(1, 8) / 7
    p = multilabel._distribution(config, logits, share)
    # All seven is what r-softmax cannot give: its smallest entry weighs about eps.
    np.testing.assert_array_equal((p > 1e-6).sum(-1), [1, 2, 3, 4, 5, 6, 6])


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="count='truth' is unknown; use none or true"):
        MultilabelConfig(count="truth")
