"""Mixed texts: the shares, the epochs of each, and a place to go back to."""

import json

import numpy as np
import pytest

from softmax_jax.data.mixing import mixed_batches
from softmax_jax.errors import UserError

TEXTS = [np.arange(0, 161), np.arange(1000, 1041), np.arange(2000, 2401)]
WEIGHTS = (5, 3, 2)


def batches(seed: int = 0):
    return mixed_batches(TEXTS, WEIGHTS, 8, 10, seed)


def take(iterator, count: int) -> np.ndarray:
    return np.concatenate([next(iterator) for _ in range(count)])


def test_the_shares_hold_from_the_start() -> None:
    rows = take(batches(), 30)
    assert rows.shape == (300, 9) and rows.dtype == np.int32
    text = rows[:, 0] // 1000
    for n in (1, 7, 20, 100, 300):
        found = np.bincount(text[:n], minlength=3)
        np.testing.assert_allclose(found, n * np.array([0.5, 0.3, 0.2]), atol=1.01)


def test_each_text_has_epochs_of_its_own() -> None:
    starts = take(batches(), 30)[:, 0]
    short = starts[starts // 1000 == 1]
    assert len(short) == 90  # 18 epochs of 5 windows
    epochs = short.reshape(18, 5)
    np.testing.assert_array_equal(np.sort(epochs), [range(1000, 1040, 8)] * 18)
    assert len(np.unique(epochs, axis=0)) > 5
    long = starts[starts // 1000 == 2]
    assert len(np.unique(long[:50])) == 50


@pytest.mark.parametrize("position", [0, 1, 13])
def test_a_fresh_iterator_goes_on_from_a_saved_position(position: int) -> None:
    iterator = batches()
    for _ in range(position):
        next(iterator)
    saved = json.dumps(iterator.get_state())
    expected = take(iterator, 8)
    fresh = batches()
    fresh.set_state(json.loads(saved))
    np.testing.assert_array_equal(take(fresh, 8), expected)


def test_the_seed_decides_the_order() -> None:
    first, again, other = (take(batches(seed), 3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("texts", "weights", "sentence"),
    [
        (TEXTS, (1, 2), r"weights=\(1, 2\) for 3 texts"),
        (TEXTS, (1, 2, 0), "one positive weight for each text"),
        ([], (), "one positive weight"),
        ([*TEXTS[:2], np.arange(8)], WEIGHTS, "text 2 has 8 tokens, too few"),
    ],
)
def test_what_cannot_be_mixed_is_told(texts, weights, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        mixed_batches(texts, weights, 8, 10, 0)
