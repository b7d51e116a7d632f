"""What processes make of a batch is, put together, the batch that one would make."""

from functools import partial

import grain
import numpy as np
import pytest

from softmax_jax.data import batches, buckets, images, mixing, packing

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 256, 500).astype(np.uint8)
PICTURES = images.Images(
    RNG.random((20, 4, 4, 1), np.float32), np.arange(20, dtype=np.int32)
)
TEXTS = [bytes(RNG.integers(97, 120, n).astype(np.uint8)) for n in range(3, 40)]
PAIRS = [(TOKENS[:n].astype(np.int32),) * 2 for n in (2, 3, 5, 6, 2, 3, 7, 4) * 4]


def encode(text):
    return np.frombuffer(text, np.uint8).astype(np.int32)


KINDS = {
    "windows": partial(batches.train_batches, TOKENS, 8, 6, 0),
    "mixed": partial(mixing.mixed_batches, [TOKENS, TOKENS[::-1]], (1, 2), 8, 6, 0),
    "images": partial(images.train_batches, PICTURES, 6, 0, shift=1),
    "packed": partial(packing.packed_batches, TEXTS, encode, 16, 6, 0),
    "pairs": partial(buckets.bucketed_batches, PAIRS, (4, 8), 48, 0, 0, multiple_of=6),
}


def thirds(number, rows):
    """The rows of one of three processes, which need not lie side by side."""
    return np.arange(rows).reshape(2, 3, -1)[:, number].reshape(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_make_the_whole(kind):
    whole = KINDS[kind]()
    parts = [KINDS[kind](share=partial(thirds, number)) for number in range(3)]
    for _ in range(8):  # beyond an epoch of some
        expected, shares = next(whole), [next(part) for part in parts]
        expected, *shares = (
            x if isinstance(x, tuple) else (x,) for x in (expected, *shares)
        )
        for arrays, array in zip(zip(*shares, strict=True), expected, strict=True):
            for number, own in enumerate(arrays):
                np.testing.assert_array_equal(own, array[thirds(number, len(array))])


def test_a_share_goes_on_where_another_stopped():
    first = KINDS["windows"](share=partial(thirds, 0))
    for _ in range(3):
        next(first)
    second = KINDS["windows"](share=partial(thirds, 1))
    second.set_state(first.get_state())
    whole = KINDS["windows"]()
    for _ in range(3):
        next(whole)
    np.testing.assert_array_equal(next(second), next(whole)[thirds(1, 6)])


def test_what_others_make_is_never_read():
    asked = []

    def read(row):
        asked.append(row)
        return images.Images(PICTURES.images[row], PICTURES.labels[row])

    part = grain.MapDataset.range(20).map(read)
    found = images.train_batches(part, 6, 0, share=partial(thirds, 1))
    seen = [next(found).labels for _ in range(3)]
    assert set(np.concatenate(seen)) <= set(asked)
    # The iterator reads ahead, by less than would fill the batches of all.
    assert len(asked) < 3 * 6
