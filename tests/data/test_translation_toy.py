"""The toy translation against a translator in plain Python."""

import jax
import numpy as np
import pytest

from softmax_jax.data import translation_toy as toy
from softmax_jax.errors import UserError

draw = jax.jit(toy.batch, static_argnums=(2, 3, 4))


def translate(spoken: toy.Language, source: list[int]) -> tuple[list[int], list[int]]:
    """The target words and the source place of each."""
    places = list(range(len(source)))
    for i in range(len(source) - 1):
        if spoken.moves[source[i]] and not spoken.moves[source[i + 1]]:
            places[i], places[i + 1] = i + 1, i
    words, aligned = [], []
    for place in places:
        for part in range(spoken.fertility[source[place]]):
            words.append(int(spoken.phrase[source[place], part]))
            aligned.append(place)
    return words, aligned


def test_every_pair_is_a_translation_with_its_alignment() -> None:
    spoken = toy.language(jax.random.key(0), 16)
    drawn = jax.tree.map(np.asarray, draw(jax.random.key(1), spoken, 200, 1, 7))
    spoken = toy.Language(*map(np.asarray, spoken))
    moved = 0
    for row in range(200):
        source = list(drawn.source[row][drawn.source_visible[row]])
        words, aligned = translate(spoken, source)
        steps = drawn.target_visible[row]
        assert steps.sum() == len(words) + 1
        assert list(drawn.targets[row][steps]) == [*words, toy.END]
        assert list(drawn.inputs[row][steps]) == [toy.END, *words]
        links = list(zip(*np.nonzero(drawn.alignment[row]), strict=True))
        assert links == list(enumerate(aligned))
        moved += aligned != sorted(aligned)
    assert 20 < moved < 180
    assert set(drawn.source_visible.sum(-1)) == set(range(1, 8))


def test_a_language_has_the_shares_it_says() -> None:
    spoken = toy.language(jax.random.key(2), 32)
    assert list(np.bincount(spoken.fertility)) == [4, 20, 8]
    assert spoken.moves.sum() == 8
    assert sorted(np.ravel(spoken.phrase)) == list(range(1, 65))  # none twice, no END


def test_other_numbers_of_words_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 8, got 12"):
        toy.language(jax.random.key(0), 12)
