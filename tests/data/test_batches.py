"""Windows and their order: every token once an epoch, and a position to go back to."""

import json

import numpy as np
import pytest

from softmax_jax.data.batches import Windows, evaluation_batches, train_batches
from softmax_jax.errors import UserError

TOKENS = np.arange(200, dtype=np.uint8)


def take(batches, count):
    return np.stack([next(batches) for _ in range(count)])


def test_windows_predict_every_token_once():
    windows = Windows(TOKENS, 8)
    targets = np.concatenate([windows[i][1:] for i in range(len(windows))])
    np.testing.assert_array_equal(targets, TOKENS[1 : 1 + 24 * 8])
    assert windows[0].dtype == np.int32


def test_an_epoch_shows_each_window_once_and_the_next_in_another_order():
    batches = take(train_batches(TOKENS, 8, 4, seed=0), 12)
    first, second = batches[:6, :, 0].ravel(), batches[6:, :, 0].ravel()
    assert sorted(first) == sorted(second) == list(range(0, 24 * 8, 8))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, sorted(first))


def test_the_seed_decides_the_order():
    same, again, other = (
        take(train_batches(TOKENS, 8, 4, seed), 3) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)


@pytest.mark.parametrize("position", [0, 1, 5, 6, 11])
def test_a_fresh_iterator_goes_on_from_a_saved_position(position):
    batches = train_batches(TOKENS, 8, 4, seed=0)
    for _ in range(position):
        next(batches)
    saved = json.dumps(batches.get_state())
    expected = take(batches, 8)
    fresh = train_batches(TOKENS, 8, 4, seed=0)
    fresh.set_state(json.loads(saved))
    np.testing.assert_array_equal(take(fresh, 8), expected)


def test_evaluation_batches_are_the_text_in_order():
    batches = list(evaluation_batches(TOKENS, 8, 4, count=100))
    assert len(batches) == 6
    np.testing.assert_array_equal(np.stack(batches)[..., 0].ravel(), range(0, 192, 8))
    assert len(list(evaluation_batches(TOKENS, 8, 4, count=2))) == 2


def test_too_short_a_text_is_told():
    with pytest.raises(UserError, match="training part holds 2 windows of 99 tokens"):
        train_batches(TOKENS, 99, 4, seed=0)
    with pytest.raises(UserError, match="validation part holds 2 windows"):
        next(evaluation_batches(TOKENS, 99, 4, 1))
