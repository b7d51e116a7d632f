"""The joint probability is one, the ranking is the paper's, and nothing leaks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.losses import histalign
from softmax_jax.losses.histalign import Memory

VOCABULARY, LENGTH = 7, 6
SETTINGS = ("margin", "weight")
trime_loss = jax.jit(histalign.trime_loss)
joint = jax.jit(histalign.joint_log_probabilities)
alone = jax.jit(histalign.cache_log_probabilities, static_argnums=2)
alignment_loss = jax.jit(histalign.alignment_loss, static_argnames="margin")
release_loss = jax.jit(histalign.alignment_loss_release, static_argnames="margin")


@functools.cache
def example() -> tuple[jax.Array, jax.Array, Memory, jax.Array, jax.Array]:
    """Logits, scores, a decoder's memory, labels and likeness: two short sequences.

    The tokens repeat, so that queries see no, one or several slots with their label.
    """
    draw = np.random.default_rng(0).normal
    targets = jnp.array([[1, 2, 1, 1, 3, 2], [4, 4, 5, 4, 6, 4]])
    memory = histalign.decoder_memory(targets)
    logits = jnp.asarray(draw(size=(2, LENGTH, VOCABULARY)), jnp.float32)
    hidden = jnp.asarray(draw(size=(2, LENGTH, 4)), jnp.float32)
    embedding = jnp.asarray(draw(size=(VOCABULARY, 4)), jnp.float32)
    likeness = histalign.token_likeness(embedding, targets, targets)
    return logits, histalign.cache_scores(hidden, hidden), memory, targets, likeness


def dense(logits: np.ndarray, scores: np.ndarray, memory: Memory) -> np.ndarray:
    """The joint probabilities, entry by entry."""
    mass = np.exp(logits.astype(np.float64))
    for b, t, i in np.ndindex(scores.shape):
        if memory.visible[b, t, i]:
            mass[b, t, memory.tokens[b, i]] += np.exp(float(scores[b, t, i]))
    return mass / mass.sum(-1, keepdims=True)


def test_the_joint_probability_is_that_of_the_formula() -> None:
    logits, scores, memory, labels, _ = example()
    expected = dense(np.asarray(logits), np.asarray(scores), memory)
    found = jnp.exp(joint(logits, scores, memory))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    loss = trime_loss(logits, scores, memory, labels)
    of_label = np.take_along_axis(expected, np.asarray(labels)[..., None], -1)[..., 0]
    np.testing.assert_allclose(loss, -np.log(of_label), rtol=1e-5)
    # A token in the memory never has less than its softmax share of the layer's part.
    z = np.exp(np.asarray(logits))
    layer = z.sum(-1) / (
        z.sum(-1) + np.where(memory.visible, np.exp(scores), 0).sum(-1)
    )
    floor = z / z.sum(-1, keepdims=True) * layer[..., None]
    assert (expected >= floor * (1 - 1e-6)).all()


def test_the_memory_alone() -> None:
    _, scores, memory, _, _ = example()
    nothing = np.full((2, LENGTH, VOCABULARY), -np.inf)
    with np.errstate(invalid="ignore"):
        expected = dense(nothing, np.asarray(scores), memory)
    found = np.exp(alone(scores, memory, VOCABULARY))
    assert (found[:, 0] == 0).all()  # the first query sees nothing
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=1e-5)


def test_an_empty_memory_leaves_the_cross_entropy() -> None:
    logits, scores, memory, labels, _ = example()
    empty = memory._replace(visible=jnp.zeros_like(memory.visible))

    def loss(logits: jax.Array, scores: jax.Array) -> jax.Array:
        return trime_loss(logits, scores, empty, labels).sum()

    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
    value, (to_logits, to_scores) = gradient(logits, scores)
    expected = -jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, VOCABULARY)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-6)
    softmax = jax.nn.softmax(logits) - jax.nn.one_hot(labels, VOCABULARY)
    np.testing.assert_allclose(to_logits, softmax, atol=1e-6)
    assert (to_scores == 0).all()


def ranked(b: int, t: int, margin: float) -> tuple[float, float]:
    """The two ranking losses of one query, pair by pair in its sorted slots."""
    _, scores, memory, labels, likeness = jax.tree.map(np.asarray, example())
    slots = [i for i in range(LENGTH) if memory.visible[b, t, i]]
    holds = {i: memory.tokens[b, i] == labels[b, t] for i in slots}
    slots.sort(key=lambda i: (not holds[i], -likeness[b, t, i]))
    by_offset: dict[int, list[float]] = {}
    for first, i in enumerate(slots):
        for second, j in enumerate(slots):
            if holds[i] and not holds[j]:
                m = second - first
                hinge = max(0.0, margin * m - (scores[b, t, i] - scores[b, t, j]))
                by_offset.setdefault(m, []).append(hinge)
    means = [np.mean(hinges) for hinges in by_offset.values()]
    return sum(map(sum, by_offset.values())), float(np.mean(means)) if means else 0.0


@pytest.mark.parametrize("margin", [1e-3, 0.5])
def test_the_rankings_pair_by_pair(margin: float) -> None:
    given = example()[1:]
    paper = alignment_loss(*given, margin=margin)
    release = release_loss(*given, margin=margin)
    expected = np.array(
        [[ranked(b, t, margin) for t in range(LENGTH)] for b in range(2)]
    )
    assert (expected[..., 0] != expected[..., 1]).sum() >= 4
    np.testing.assert_allclose(paper, expected[..., 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(release, expected[..., 1], rtol=1e-5, atol=1e-6)


def test_no_hinge_once_positives_lead_by_their_margins() -> None:
    _, _, memory, labels, likeness = example()
    match = memory.tokens[:, None, :] == labels[..., None]
    lead = jnp.where(match, 0.5 * LENGTH, 0.0)
    for ranking in (alignment_loss, release_loss):
        assert (ranking(lead, memory, labels, likeness, margin=0.5) == 0).all()
        behind = ranking(0.9 * lead, memory, labels, likeness, margin=0.5)
        assert behind.max() == 0  # ranks reach to LENGTH - 1 at most
        assert ranking(0.1 * lead, memory, labels, likeness, margin=0.5).max() > 0


def test_the_totals_are_what_their_names_say() -> None:
    logits, scores, memory, labels, _ = example()
    given = example()[1:]
    entropy = -(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, VOCABULARY)).sum(-1)
    paper, release = (total(logits, *given, margin=0.1, weight=2.0) for total in TOTALS)
    ranking = alignment_loss(*given, margin=0.1)
    np.testing.assert_allclose(paper, entropy + 2 * ranking, rtol=1e-5)
    ranking = release_loss(*given, margin=0.1)
    trime = trime_loss(logits, scores, memory, labels)
    np.testing.assert_allclose(release, trime + 2 * ranking, rtol=1e-5)


TOTALS = [
    jax.jit(total, static_argnames=SETTINGS)
    for total in (histalign.histalign_loss, histalign.histalign_loss_release)
]


@pytest.mark.parametrize("total", TOTALS, ids=["paper", "release"])
def test_what_no_query_may_see_changes_nothing(total) -> None:
    """NaN in later slots and in ignored queries; gradients stay what they were."""
    logits, scores, memory, labels, likeness = example()
    labels = labels.at[:, 2].set(-1)

    def loss(logits: jax.Array, scores: jax.Array, likeness: jax.Array) -> jax.Array:
        return total(logits, scores, memory, labels, likeness, margin=0.1).sum()

    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
    value, expected = gradient(logits, scores, likeness)
    hidden = ~memory.visible | (labels < 0)[..., None]
    spoiled = jnp.where(hidden, jnp.nan, scores)
    ignored = jnp.where((labels < 0)[..., None], jnp.nan, logits)
    again, found = gradient(ignored, spoiled, jnp.where(hidden, jnp.nan, likeness))
    assert np.isfinite(value) and again == value
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert (expected[1] != 0).any()
    assert (jnp.where(hidden, found[1], 0) == 0).all()


@pytest.mark.parametrize("total", TOTALS, ids=["paper", "release"])
def test_tokens_that_are_not_in_the_context_can_be_renamed(total) -> None:
    """Tokens 0 and 6 of the first sequence change places: its losses do not."""
    logits, given = example()[0], example()[1:]
    swapped = logits[..., jnp.array([6, 1, 2, 3, 4, 5, 0])]
    np.testing.assert_allclose(
        total(swapped, *given)[0], total(logits, *given)[0], rtol=1e-6
    )


def test_the_memory_of_an_encoder() -> None:
    sources = jnp.array([[1, 2, 1, 0]])
    memory = histalign.encoder_memory(sources, 3, sources > 0)
    assert memory.visible.shape == (1, 3, 4)
    np.testing.assert_array_equal(memory.visible[0, 0], [True, True, True, False])
    scores = jnp.log(jnp.array([[[1.0, 2.0, 3.0, 9.0]] * 3]))
    found = alone(scores, memory, 3)
    np.testing.assert_allclose(jnp.exp(found[0, 2]), [0, 4 / 6, 2 / 6], atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_gradients_are_those_of_the_losses() -> None:
    """Central differences in float64, along one direction."""
    draw = np.random.default_rng(1).normal
    logits, scores, memory, labels, likeness = example()
    logits, scores, likeness = (
        x.astype(jnp.float64) for x in (logits, scores, likeness)
    )
    along = jnp.asarray(draw(size=logits.shape)), jnp.asarray(draw(size=scores.shape))

    @jax.jit
    def losses(h: jax.Array) -> jax.Array:
        moved = logits + h * along[0], scores + h * along[1]
        return jnp.stack(
            [
                total(*moved, memory, labels, likeness, margin=0.3).sum()
                for total in TOTALS
            ]
        )

    h = jnp.asarray(1e-6)
    numeric = (losses(h) - losses(-h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.jacrev(losses))(0 * h), numeric, rtol=1e-6)
