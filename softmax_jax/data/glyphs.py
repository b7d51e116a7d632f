"""Letters of six scripts as images, drawn from the typefaces that matplotlib brings."""

import unicodedata
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "GEORGIAN", "ARMENIAN", "LAO")
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
)
LEAST_FACES = 8


class Glyphs(NamedTuple):
    """Images and, by their numbers, what they show.

    A letter is a class, its typeface a style of writing, its script an alphabet: few
    shots of a character, or one identity before several cameras.
    """

    images: np.ndarray  # float32 [n, size, size, 1], 0 is paper and 1 is ink
    letters: np.ndarray  # int32 [n], into `alphabet`
    faces: np.ndarray  # int32 [n], into `FACES`
    scripts: np.ndarray  # int32 [n], into `SCRIPTS`
    alphabet: tuple[str, ...]


def glyphs(size: int = 28) -> Glyphs:
    """Every letter that at least 8 of the 16 faces have, in each face that has it.

    Letters of several scripts that look alike, such as A and Alpha, are classes of
    their own.
    """
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = [folder / f"{face}.ttf" for face in FACES]
    drawn = [_letters(file) for file in files]
    counts = Counter(letter for letters in drawn for letter in letters)
    alphabet = sorted(x for x, count in counts.items() if count >= LEAST_FACES)
    number = {letter: i for i, letter in enumerate(alphabet)}
    shown = [
        (number[letter], face)
        for face, letters in enumerate(drawn)
        for letter in sorted(letters)
        if letter in number
    ]
    letters, faces = np.array(shown, np.int32).T
    images = np.concatenate(
        [
            _draw(file, [alphabet[i] for i in letters[faces == face]], size)
            for face, file in enumerate(files)
        ]
    )
    scripts = np.array([SCRIPTS.index(_script(x)) for x in alphabet], np.int32)
    return Glyphs(images, letters, faces, scripts[letters], tuple(alphabet))


def _letters(file: Path) -> set[str]:
    """The letters of the six scripts that a face has."""
    with import_module("fontTools.ttLib").TTFont(file, lazy=True) as font:
        characters = map(chr, font.getBestCmap())
        return {x for x in characters if _is_letter(x) and _script(x) in SCRIPTS}


def _is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L")


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _draw(file: Path, letters: list[str], size: int) -> np.ndarray:
    """[letters, size, size, 1], each in the middle, two thirds of the size high."""
    pillow = {x: import_module(f"PIL.{x}") for x in ("Image", "ImageDraw", "ImageFont")}
    layout = pillow["ImageFont"].Layout.BASIC
    font = pillow["ImageFont"].truetype(str(file), 2 * size // 3, layout_engine=layout)
    pixels = np.empty((len(letters), size, size, 1), np.float32)
    for row, letter in zip(pixels, letters, strict=True):
        image = pillow["Image"].new("L", (size, size))
        place = (size / 2, size / 2)
        pillow["ImageDraw"].Draw(image).text(place, letter, 255, font, anchor="mm")
        row[..., 0] = np.asarray(image, np.float32) / 255
    return pixels
