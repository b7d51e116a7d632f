"""Multi-label sets are standardised, split, and missed with one sentence."""

import numpy as np
import pytest

from softmax_jax.data import multilabel
from softmax_jax.errors import UserError


def test_features_are_standardised_by_the_training_part() -> None:
    rng = np.random.default_rng(0)
    features = np.c_[rng.normal(5, 3, 100), np.full(100, 7.0)]
    labels = rng.integers(0, 2, (100, 4))
    parts = multilabel._split(features, labels, (60, 15, 25))
    assert [len(part.labels) for part in parts] == [60, 15, 25]
    assert parts.train.features[:, 0].mean() == pytest.approx(0, abs=1e-5)
    assert parts.train.features[:, 0].std() == pytest.approx(1, abs=1e-5)
    assert (parts.test.features[:, 1] == 0).all()  # a constant feature says nothing
    assert parts.test.features[:, 0].mean() != pytest.approx(0, abs=1e-3)
    np.testing.assert_array_equal(parts.test.labels, labels[75:] == 1)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("20/5", r"need scikit-learn.*pip install softmax-jax\[multilabel\]"),
        ("yeast", "comes with river, which is missing"),
        ("twenty", "'twenty' is unknown; use yeast"),
    ],
)
def test_what_is_missing_is_said(name: str, sentence: str, monkeypatch) -> None:
    monkeypatch.setattr(multilabel, "find_spec", lambda name: None)
    multilabel.load.cache_clear()
    with pytest.raises(UserError, match=sentence):
        multilabel.load(name, 0)


def test_a_generated_set_has_its_classes_and_labels() -> None:
    pytest.importorskip("sklearn")
    train, _, test = multilabel.load("20/5", 0)
    assert train.features.shape == (2000, 64)
    assert test.labels.shape == (1000, 20)
    assert train.labels.any(1).all()
    assert 4 < train.labels.sum(1).mean() < 6


def test_yeast_is_whole() -> None:
    pytest.importorskip("river")
    parts = multilabel.load("yeast", 0)
    assert parts.train.features.shape == (1200, 103)
    labels = np.concatenate([part.labels for part in parts])
    assert labels.shape == (2417, 14) and labels.any(1).all()
    assert labels.sum(1).mean() == pytest.approx(4.237, abs=0.001)  # as published
