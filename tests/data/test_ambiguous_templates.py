"""Sentences name the two words of a diagonal, and corners add up exactly."""

import numpy as np
import pytest

from softmax_jax.data.ambiguous_templates import LENGTH, templates
from softmax_jax.errors import UserError


def test_sentences_name_a_diagonal_and_end_in_one_of_its_words() -> None:
    made = templates(np.random.default_rng(0), groups=6, unseen=2)
    for part, groups in ((made.train, 4), (made.unseen, 2)):
        assert part.inputs.shape == (32 * groups, LENGTH)
        group, corner = np.divmod(part.words, 4)
        assert (group[:, 0] == group[:, 1]).all() and (corner.sum(1) == 3).all()
        np.testing.assert_array_equal(part.inputs[:, 1:], part.targets[:, :-1])
        named = (part.inputs[:, :, None] == part.words[:, None, :]).sum(1)
        assert (named == 1).all()
        assert ((part.inputs < 24) == (part.inputs < 4 * 6)).all()
        last = part.targets[:, -1:] == part.words
        assert last.mean(0).tolist() == [0.5, 0.5] and (last.sum(1) == 1).all()
    assert not set(made.train.words.ravel()) & set(made.unseen.words.ravel())


def test_words_are_told_by_what_stands_before_them() -> None:
    """No word comes first: the memory holds the state before each word."""
    made = templates(np.random.default_rng(1), groups=6, unseen=2)
    assert (made.train.inputs[:, 0] >= 24).all()


@pytest.mark.parametrize("kind", ["parallelogram", "random"])
def test_corners_add_up_exactly_in_parallelograms_only(kind: str) -> None:
    made = templates(np.random.default_rng(0), embedding=kind)
    a, b, c, d = made.embedding[:240].reshape(60, 4, -1).transpose(1, 0, 2)
    assert ((a + d == b + c).all()) == (kind == "parallelogram")
    assert made.embedding.dtype == np.float32
    assert np.square(made.embedding).sum(1).mean() == pytest.approx(2, abs=0.2)


def test_mistakes_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="unseen must lie between 0 and 5"):
        templates(rng, groups=5, unseen=5)
    with pytest.raises(UserError, match="embedding='square' is unknown"):
        templates(rng, embedding="square")
