"""Documents in rows: none is lost or mixed, and the stream can be taken up again."""

import json
from collections import Counter

import jax
import numpy as np
import pytest

from softmax_jax.data.codecs import Bytes
from softmax_jax.data.packing import PackedBatch, packed_batches, pieces, predicted
from softmax_jax.errors import UserError

LENGTHS = np.random.default_rng(0).integers(1, 40, 60)
# Document i holds the letter i, so that what belongs together can be seen.
DOCUMENTS = [bytes([i + 1]) * int(length) for i, length in enumerate(LENGTHS)]
WIDTH = 24


def batches(seed: int = 0):
    return packed_batches(DOCUMENTS, Bytes().encode, WIDTH, 4, seed)


def take(iterator, count: int) -> list[PackedBatch]:
    return [next(iterator) for _ in range(count)]


def test_a_segment_is_a_piece_of_one_document() -> None:
    for batch in take(batches(), 20):
        assert batch.tokens.shape == (4, WIDTH + 1)
        assert batch.tokens.dtype == batch.segment_ids.dtype == np.int32
        for row in range(4):
            tokens, segments = batch.tokens[row], batch.segment_ids[row]
            last = segments.max()
            padding = segments == 0
            assert not tokens[padding].any() and not padding[: (~padding).sum()].any()
            for segment in range(1, last + 1):
                inside = segments == segment
                assert len(set(tokens[inside])) == 1 < inside.sum()
                np.testing.assert_array_equal(
                    batch.positions[row][inside], range(inside.sum())
                )


def test_every_token_of_an_epoch_is_predicted_once() -> None:
    """Batches hold consecutive pieces: an epoch, then the beginning of the next."""
    total = sum(len(text) - 1 for text in DOCUMENTS)
    seen: Counter[int] = Counter()
    iterator = batches()
    while seen.total() < total:
        batch = next(iterator)
        seen.update(batch.tokens[:, 1:][predicted(batch.segment_ids)].tolist())
    assert seen.total() < total + 4 * WIDTH
    for i, text in enumerate(DOCUMENTS):
        assert len(text) - 1 <= seen[i + 1] <= 2 * (len(text) - 1)


def test_what_is_predicted_stays_within_a_document() -> None:
    segments = np.array([[1, 1, 2, 2, 2, 0, 0]], np.int32)
    expected = [[True, False, True, True, False, False]]
    np.testing.assert_array_equal(predicted(segments), expected)


@pytest.mark.parametrize("size", [0, 1, 2, 8, 9, 10, 17, 18])
def test_pieces_predict_every_token_once(size: int) -> None:
    tokens = np.arange(size)
    found = pieces(tokens, 8)
    assert all(2 <= len(piece) <= 9 for piece in found)
    targets = np.concatenate([piece[1:] for piece in found] or [tokens[:0]])
    np.testing.assert_array_equal(targets, tokens[1:])


@pytest.mark.parametrize("position", [0, 1, 2, 7, 30])
def test_a_fresh_iterator_goes_on_from_a_saved_position(position: int) -> None:
    iterator = batches()
    take(iterator, position)
    saved = json.dumps(iterator.get_state())
    expected = take(iterator, 6)
    fresh = batches()
    fresh.set_state(json.loads(saved))
    assert json.dumps(fresh.get_state()) == saved
    jax.tree.map(np.testing.assert_array_equal, take(fresh, 6), expected)


def test_the_seed_decides_the_order() -> None:
    first, again, other = (take(batches(seed), 3) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first[0].tokens, other[0].tokens)


def test_rows_are_well_filled() -> None:
    filled = [(batch.segment_ids > 0).mean() for batch in take(batches(), 20)]
    assert np.mean(filled) > 0.75


def test_nothing_to_pack_is_told() -> None:
    with pytest.raises(UserError, match="got 0 documents and 8"):
        packed_batches([], Bytes().encode, 8, 4, 0)
