"""Buckets: equal tokens, few shapes, no pair lost, and a place to go back to."""

import json
from collections import Counter

import jax
import numpy as np
import pytest

from softmax_jax.data.buckets import PairBatch, bucketed_batches, padded
from softmax_jax.errors import UserError

END = 0
LENGTHS = (4, 8, 16)
BOUNDS = np.repeat(LENGTHS, [60, 60, 80])[:, None]
SIZES = np.random.default_rng(0).integers(1, BOUNDS, (200, 2))
# Pair i consists of the number i + 1, so that it can be found again.
PAIRS = [(np.full(a, i + 1), np.full(b, i + 1)) for i, (a, b) in enumerate(SIZES)]


def batches(seed: int = 0):
    return bucketed_batches(PAIRS, LENGTHS, 64, END, seed)


def take(iterator, count: int) -> list[PairBatch]:
    return [next(iterator) for _ in range(count)]


def epoch() -> int:
    """The batches of an epoch."""
    needed = np.maximum(SIZES[:, 0], SIZES[:, 1] + 1)
    counts = np.bincount(np.searchsorted(LENGTHS, needed))
    return sum(
        count // (64 // length) for count, length in zip(counts, LENGTHS, strict=True)
    )


def test_shapes_are_few_and_hold_equal_tokens() -> None:
    shapes = {batch.source.shape for batch in take(batches(), 60)}
    assert shapes == {(16, 4), (8, 8), (4, 16)}


def test_a_pair_is_padded_and_shifted() -> None:
    batch = padded([(np.array([5, 6, 7]), np.array([8, 9]))], 4, END)
    expected = PairBatch(
        source=[[5, 6, 7, 0]],
        source_visible=[[True, True, True, False]],
        inputs=[[END, 8, 9, 0]],
        targets=[[8, 9, END, 0]],
        target_visible=[[True, True, True, False]],
    )
    for found, wanted in zip(batch, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert batch.source.dtype == batch.targets.dtype == np.int32


def test_every_pair_is_in_the_smallest_bucket_and_whole() -> None:
    for batch in take(batches(), epoch()):
        for source, mask, targets, shown in zip(
            batch.source,
            batch.source_visible,
            batch.targets,
            batch.target_visible,
            strict=True,
        ):
            number = source[0]
            x, y = PAIRS[number - 1]
            np.testing.assert_array_equal(source[mask], x)
            np.testing.assert_array_equal(targets[shown], [*y, END])
            smaller = [length for length in LENGTHS if length < batch.source.shape[1]]
            assert not smaller or max(len(x), len(y) + 1) > max(smaller)


def test_an_epoch_shows_no_pair_twice_and_each_epoch_leaves_out_others() -> None:
    iterator = batches()
    shown = [
        Counter(int(n) for batch in take(iterator, epoch()) for n in batch.source[:, 0])
        for _ in range(8)
    ]
    assert all(max(one.values()) == 1 for one in shown)
    assert all(len(one) > 200 - 16 - 8 - 4 for one in shown)
    assert len(set.union(*(set(one) for one in shown))) == 200
    assert set(shown[0]) != set(shown[1])


def test_buckets_come_in_a_random_order() -> None:
    lengths = [batch.source.shape[1] for batch in take(batches(), epoch())]
    assert lengths not in (sorted(lengths), sorted(lengths)[::-1])


@pytest.mark.parametrize("position", [0, 1, 9, 40])
def test_a_fresh_iterator_goes_on_from_a_saved_position(position: int) -> None:
    iterator = batches()
    take(iterator, position)
    saved = json.dumps(iterator.get_state())
    expected = take(iterator, 30)
    fresh = batches()
    fresh.set_state(json.loads(saved))
    jax.tree.map(np.testing.assert_array_equal, take(fresh, 30), expected)


def test_the_seed_decides_the_order() -> None:
    first, again, other = (take(batches(seed), 30) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    orders = [[batch.source[0, 0] for batch in part] for part in (first, other)]
    assert orders[0] != orders[1]


def test_rows_divide_among_devices() -> None:
    found = bucketed_batches(PAIRS, (8, 16), 100, END, 0, multiple_of=4)
    assert {batch.source.shape for batch in take(found, 40)} == {(12, 8), (4, 16)}


@pytest.mark.parametrize(
    ("pairs", "lengths", "tokens", "sentence"),
    [
        ([], LENGTHS, 64, "got 0 pairs"),
        (PAIRS, (8, 4), 64, r"ascending lengths; got 200 pairs and lengths=\(8, 4\)"),
        (PAIRS, (4, 8), 64, "needs 16 tokens, more than the longest bucket, 8"),
        (PAIRS, LENGTHS, 12, "length 16 has .* gives 0 rows"),
    ],
)
def test_what_cannot_be_bucketed_is_told(pairs, lengths, tokens, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        bucketed_batches(pairs, lengths, tokens, END, 0)
