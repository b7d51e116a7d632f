"""Letters drawn from typefaces: the same set everywhere, each where it belongs."""

import numpy as np
import pytest

from softmax_jax.data.glyphs import FACES, SCRIPTS, Glyphs, glyphs
from softmax_jax.data.images import ImagesConfig, load


@pytest.fixture(scope="module")
def drawn() -> Glyphs:
    return glyphs(size=16)


def test_the_set_is_whole(drawn: Glyphs) -> None:
    assert drawn.images.shape == (21_670, 16, 16, 1)
    assert len(drawn.alphabet) == 1734 and len(FACES) == 16
    assert np.bincount(drawn.letters).min() >= 8
    pairs = drawn.letters * len(FACES) + drawn.faces
    assert len(np.unique(pairs)) == len(pairs)


def test_every_letter_is_drawn(drawn: Glyphs) -> None:
    ink = drawn.images.max((1, 2, 3))
    assert ink.min() > 0.2 and drawn.images.max() == 1 and drawn.images.min() == 0


@pytest.mark.parametrize(
    ("letter", "script"), [("a", "LATIN"), ("Ω", "GREEK"), ("Ж", "CYRILLIC")]
)
def test_letters_belong_to_their_scripts(
    drawn: Glyphs, letter: str, script: str
) -> None:
    own = drawn.letters == drawn.alphabet.index(letter)
    assert set(drawn.scripts[own]) == {SCRIPTS.index(script)}


def test_a_letter_looks_alike_in_two_faces_and_unlike_another(drawn: Glyphs) -> None:
    def image(letter: str, face: str) -> np.ndarray:
        own = drawn.letters == drawn.alphabet.index(letter)
        found = drawn.images[own & (drawn.faces == FACES.index(face))]
        return found[0].ravel() - found[0].mean()

    def likeness(x: np.ndarray, y: np.ndarray) -> float:
        return x @ y / np.sqrt((x @ x) * (y @ y))

    o, bold = image("o", "DejaVuSans"), image("o", "DejaVuSans-Bold")
    assert likeness(o, bold) > 0.8 > 0.6 > likeness(o, image("w", "DejaVuSans"))


def test_glyphs_are_labelled_images() -> None:
    parts = load(ImagesConfig("glyphs", size=12))
    assert parts.train.images.shape[1:] == (12, 12, 1)
    assert len(parts.classes) == 1734
    assert sum(len(part.labels) for part in parts[:3]) == 21_670
