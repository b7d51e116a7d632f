"""Translation between made-up languages, with the alignment of every word known.

A source word stands for no, one or two target words, and some words change places with
the word after them. Nothing else happens, so every target word has one source word.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from softmax_jax.errors import UserError

END = 0  # the target's mark before its first word and after its last
FERTILITIES = (0, 1, 1, 1, 1, 1, 2, 2)
MOVES = (True, False, False, False)


class Language(NamedTuple):
    """Of every source word: how many target words, which, and whether it moves."""

    fertility: Int[Array, " v"]
    phrase: Int[Array, "v 2"]
    moves: Bool[Array, " v"]


class TranslationBatch(NamedTuple):
    """Padded sentence pairs. Step t sees `inputs` up to t and says `targets[t]`.

    `alignment[t]` marks the source word of target word t; the last step says END.
    """

    source: Int[Array, "b s"]
    source_visible: Bool[Array, "b s"]
    inputs: Int[Array, "b t"]
    targets: Int[Array, "b t"]
    target_visible: Bool[Array, "b t"]
    alignment: Bool[Array, "b words s"]


def language(key: jax.Array, words: int) -> Language:
    """Draws a language of `words` source and 2 words + 1 target symbols.

    An eighth of the words has no translation, a quarter has two; a quarter moves.
    """
    if words < 1 or words % len(FERTILITIES):
        raise UserError(f"words must be a multiple of {len(FERTILITIES)}, got {words}")
    fertility_key, phrase_key, moves_key = jax.random.split(key, 3)
    deal = jax.random.permutation
    fertility = jnp.tile(jnp.asarray(FERTILITIES), words // len(FERTILITIES))
    moves = jnp.tile(jnp.asarray(MOVES), words // len(MOVES))
    phrase = deal(phrase_key, jnp.arange(2 * words)) + 1
    return Language(
        deal(fertility_key, fertility), phrase.reshape(words, 2), deal(moves_key, moves)
    )


def batch(
    key: jax.Array, spoken: Language, batch_size: int, shortest: int, longest: int
) -> TranslationBatch:
    """Draws sentences of `shortest` to `longest` independent source words.

    The target has room for 2 longest words and the end.
    """
    count_key, word_key = jax.random.split(key)
    count = jax.random.randint(count_key, (batch_size, 1), shortest, longest + 1)
    words = len(spoken.fertility)
    source = jax.random.randint(word_key, (batch_size, longest), 0, words)
    visible = jnp.arange(longest)[None] < count
    source = jnp.where(visible, source, 0)
    return jax.vmap(lambda *row: _pair(spoken, *row))(source, visible)


def _pair(
    spoken: Language, source: Int[Array, " s"], visible: Bool[Array, " s"]
) -> TranslationBatch:
    """One sentence pair, without the axis of the batch."""
    order = _order(spoken.moves[source] & visible, visible)
    fertility = jnp.where(visible, spoken.fertility[source], 0)[order]
    ends = jnp.cumsum(fertility)
    capacity = 2 * len(source)
    place = jnp.arange(capacity)
    turn = jnp.searchsorted(ends, place, side="right").clip(max=len(source) - 1)
    within = (place - (ends - fertility)[turn]).clip(0, 1)
    is_word = place < ends[-1]
    words = jnp.where(is_word, spoken.phrase[source[order[turn]], within], END)
    targets = jnp.append(words, END)
    steps = jnp.arange(capacity + 1)
    aligned = order[turn][:, None] == jnp.arange(len(source))[None]
    return TranslationBatch(
        source=source,
        source_visible=visible,
        inputs=jnp.roll(targets, 1),
        targets=targets,
        target_visible=steps <= ends[-1],
        alignment=aligned & is_word[:, None],
    )


def _order(moves: Bool[Array, " s"], visible: Bool[Array, " s"]) -> Int[Array, " s"]:
    """The source places in the order of the target.

    A word that moves changes places with the next one, unless that moves itself or
    there is none: no word is in two exchanges.
    """
    after = jnp.append(visible[1:] & ~moves[1:], False)
    forward = moves & after
    back = jnp.append(False, forward[:-1])
    return jnp.arange(len(moves)) + forward.astype(int) - back.astype(int)
