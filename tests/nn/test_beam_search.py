"""Beam search against all hypotheses, against a search by hand, and as translation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn

pytestmark = pytest.mark.core

VOCABULARY, LENGTH, END, PRIME = 3, 4, 2, 97
TABLE = np.random.default_rng(0).normal(size=(PRIME, VOCABULARY)).astype(np.float32)
FIRST = range(12)


def state_after(state: int, token: int) -> int:
    """A model that remembers everything: of its past, in a random way."""
    return (5 * state + token + 1) % PRIME


def log_p(state: int) -> np.ndarray:
    logits = TABLE[state].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def step(tokens, position, cache):
    """The model, which knows of its past only what stands in the cache [N, LENGTH]."""
    cache = cache.at[:, position].set(tokens)

    def replay(count, state):
        after = (5 * state + cache[:, count] + 1) % PRIME
        return jnp.where(count <= position, after, state)

    state = jax.lax.fori_loop(0, LENGTH, replay, jnp.zeros_like(tokens))
    return jnp.asarray(TABLE)[state], cache


@functools.partial(jax.jit, static_argnames=("beams", "penalty"))
def search(first, *, beams: int, penalty: float) -> nn.Beams:
    cache = jnp.zeros((len(first) * beams, LENGTH), jnp.int32)
    return nn.beam_search(
        step,
        cache,
        first,
        beams=beams,
        length=LENGTH,
        end=END,
        length_penalty=penalty,
    )


ALL = jnp.asarray(FIRST, jnp.int32)


def scored(first: int, tokens: tuple[int, ...], penalty: float) -> float:
    state, total = state_after(0, first), 0.0
    for token in tokens:
        total += log_p(state)[token]
        state = state_after(state, token)
    return total / ((5 + len(tokens)) / 6) ** penalty


def hypotheses() -> list[tuple[int, ...]]:
    """Everything that ends with END or has LENGTH tokens, and no END before."""
    others = [token for token in range(VOCABULARY) if token != END]
    ended = [
        (*tokens, END)
        for count in range(LENGTH)
        for tokens in itertools.product(others, repeat=count)
    ]
    return ended + list(itertools.product(others, repeat=LENGTH))


def by_hand(first: int, beams: int, penalty: float):
    """The same search over lists, which never stops early."""
    alive, ended = [((), 0.0, state_after(0, first))], []
    for count in range(1, LENGTH + 1):
        every = [
            ((*tokens, token), total + log_p(state)[token], state_after(state, token))
            for tokens, total, state in alive
            for token in range(VOCABULARY)
        ]
        best = sorted(every, key=lambda x: -x[1])[:beams]
        alive = [x for x in best if x[0][-1] != END]
        over = best if count == LENGTH else [x for x in best if x[0][-1] == END]
        ended += [
            (total / ((5 + count) / 6) ** penalty, tokens) for tokens, total, _ in over
        ]
    return sorted(ended, reverse=True)[:beams]


def filled(tokens: tuple[int, ...]) -> list[int]:
    return [*tokens, *[END] * (LENGTH - len(tokens))]


@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_as_many_beams_as_sequences_find_everything(penalty):
    found = search(ALL, beams=VOCABULARY**LENGTH, penalty=penalty)
    every = hypotheses()
    for i, first in enumerate(FIRST):
        known = sorted(((scored(first, x, penalty), x) for x in every), reverse=True)
        scores = [score for score, _ in known]
        np.testing.assert_allclose(found.scores[i, : len(known)], scores, rtol=1e-5)
        tokens = [filled(x) for _, x in known]
        np.testing.assert_array_equal(found.tokens[i, : len(known)], tokens)
        assert (found.scores[i, len(known) :] == -np.inf).all()


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_few_beams_keep_the_best_of_every_step(beams, penalty):
    together = search(ALL, beams=beams, penalty=penalty)
    for i, first in enumerate(FIRST):
        # Alone, a search stops as soon as nothing can be improved.
        alone = search(ALL[i : i + 1], beams=beams, penalty=penalty)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])
        known = by_hand(first, beams, penalty)
        scores = np.full(beams, -np.inf)
        scores[: len(known)] = [score for score, _ in known]
        np.testing.assert_allclose(alone.scores[0], scores, rtol=1e-5)
        tokens = [filled(x) for _, x in known]
        np.testing.assert_array_equal(alone.tokens[0, : len(known)], tokens)


def test_one_beam_is_greedy():
    found = search(ALL, beams=1, penalty=0.6)
    for i, first in enumerate(FIRST):
        state, tokens = state_after(0, first), []
        while len(tokens) < LENGTH and END not in tokens:
            tokens.append(int(TABLE[state].argmax()))
            state = state_after(state, tokens[-1])
        np.testing.assert_array_equal(found.tokens[i, 0], filled(tuple(tokens)))


def test_the_penalty_favours_the_longer():
    short, long = (search(ALL, beams=3, penalty=x) for x in (0.0, 8.0))
    ends = [(np.asarray(x.tokens[:, 0]) == END).sum() for x in (short, long)]
    assert ends[1] < ends[0]


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_translation_is_a_search_over_the_full_pass(beams):
    config = nn.EncoderDecoderConfig(
        vocabulary=7, layers=1, width=8, heads=2, mlp_width=8, cross_normalizer="relu"
    )
    model = nn.EncoderDecoder(config, rngs=nnx.Rngs(1))
    source = jnp.asarray([[3, 1, 4, 0], [2, 6, 5, 3]], jnp.int32)
    lengths = jnp.asarray([3, 4], jnp.int32)
    tokens, scores = nn.translate(
        model,
        source,
        source_lengths=lengths,
        start=0,
        end=1,
        length=5,
        beams=beams,
        length_penalty=1.0,
    )
    assert tokens.shape == (2, beams, 5) and (np.diff(scores) <= 0).all()
    best = np.asarray(tokens[:, 0])

    @nnx.jit
    def forward(model, inputs):
        return jax.nn.log_softmax(model(source, inputs, source_lengths=lengths))

    log_p = np.asarray(forward(model, np.pad(best[:, :-1], ((0, 0), (1, 0)))))
    real = (best == 1).cumsum(1) == (best == 1)  # up to and with the first end
    each = np.take_along_axis(log_p, best[..., None], -1)[..., 0]
    total = each.sum(1, where=real) / ((5 + real.sum(1)) / 6)
    np.testing.assert_allclose(total, scores[:, 0], rtol=1e-4)
    if beams == 1:
        np.testing.assert_array_equal(log_p.argmax(-1)[real], best[real])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(beams=0), "beams must be at least 1, got 0"),
        (dict(length=0), "length must be at least 1, got 0"),
        (dict(length_penalty=-1.0), "length_penalty must not be negative, got -1.0"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, sentence):
    given = dict(beams=2, length=3, end=1) | options
    with pytest.raises(sj.UserError, match=sentence):
        nn.beam_search(step, (), jnp.zeros(1, jnp.int32), **given)
