"""Sentences whose last word is one of two that stand before it, and tables for them.

Four words of a group are the corners of a parallelogram: man is to king as woman is to
queen. A sentence names the two words of a diagonal, man and queen, and ends in one of
them, at random. A layer whose logits are linear in the embeddings cannot prefer both to
the other two corners: z_man + z_queen = z_woman + z_king.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError

TEMPLATES, LENGTH = 4, 8
EMBEDDINGS = ("parallelogram", "random")


class Sentences(NamedTuple):
    """Tokens to read, what follows each of them, and both words that may come last."""

    inputs: Int[np.ndarray | Array, "rows length"]
    targets: Int[np.ndarray | Array, "rows length"]
    words: Int[np.ndarray | Array, "rows 2"]


class Templates(NamedTuple):
    """Sentences of some groups to train on, of the others to judge on, and a table."""

    train: Sentences
    unseen: Sentences
    embedding: Float[np.ndarray, "vocabulary width"]


def templates(
    rng: np.random.Generator,
    *,
    groups: int = 60,
    unseen: int = 20,
    function_words: int = 24,
    width: int = 32,
    embedding: str = "parallelogram",
) -> Templates:
    """4 templates x 2 diagonals x 2 orders x 2 last words for every group.

    Tokens 4g to 4g + 3 are the corners of group g, with the diagonals 4g, 4g + 3 and
    4g + 1, 4g + 2; the function words come after them. "parallelogram" embeddings have
    e_a + e_d = e_b + e_c exactly, in float32 too; those of "random" know no groups. The
    rows have a length of about sqrt(2).
    """
    if not 0 < unseen < groups:
        raise UserError(f"unseen must lie between 0 and {groups} groups, got {unseen}")
    if embedding not in EMBEDDINGS:
        raise UserError(
            f"embedding={embedding!r} is unknown; use {' or '.join(EMBEDDINGS)}"
        )
    table = _embedding(rng, groups, function_words, width, embedding)
    frames = rng.integers(4 * groups, len(table), (TEMPLATES, LENGTH), dtype=np.int32)
    # Where the two words of a template stand; never at the first or last input.
    places = np.stack([rng.permutation(np.arange(1, LENGTH - 1))[:2] for _ in frames])
    chosen = rng.permutation(groups)
    train, others = (
        _sentences(frames, np.sort(places), np.sort(part))
        for part in (chosen[unseen:], chosen[:unseen])
    )
    return Templates(train, others, table)


def _embedding(
    rng: np.random.Generator, groups: int, function_words: int, width: int, kind: str
) -> np.ndarray:
    count = 4 * groups + function_words
    deviation = (2 / width) ** 0.5
    table = _rounded(deviation * rng.normal(size=(count, width)))
    if kind == "parallelogram":
        parts = deviation / 3**0.5 * rng.normal(size=(3, groups, 1, width))
        middle, along, across = _rounded(parts)
        first, second = np.array([[1, 1, -1, -1], [1, -1, 1, -1]])[..., None]
        corners = middle + first * along + second * across
        table[: 4 * groups] = corners.reshape(-1, width)
    return table.astype(np.float32)


def _rounded(x: np.ndarray) -> np.ndarray:
    """To multiples of 2^-14, whose sums are exact in float32."""
    return np.round(x * 2**14) / 2**14


def _sentences(frames: np.ndarray, places: np.ndarray, groups: np.ndarray) -> Sentences:
    """Every group in every template, diagonal and order, ending in either word."""
    shape = (len(groups), len(frames), 2, 2, 2)
    group, template, diagonal, order, last = (
        x.ravel() for x in np.indices(shape, np.int32)
    )
    pair = np.array([[0, 3], [1, 2]], np.int32)[diagonal]
    pair = np.where(order[:, None] == 0, pair, pair[:, ::-1])
    words = (4 * groups[group][:, None] + pair).astype(np.int32)
    whole = np.empty((len(words), LENGTH + 1), np.int32)
    whole[:, :-1] = frames[template]
    np.put_along_axis(whole, places[template], words, axis=1)
    whole[:, -1] = np.take_along_axis(words, last[:, None], axis=1)[:, 0]
    return Sentences(whole[:, :-1], whole[:, 1:], words)
