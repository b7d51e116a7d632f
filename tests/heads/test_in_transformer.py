"""Heads in the Transformer: its losses are those of its logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn
from softmax_jax.heads import mixture_cross_entropy

SIZES = dict(vocabulary=11, layers=1, width=16, heads=2, mlp_width=16)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 7)), jnp.int32)
LABELS = jnp.asarray(np.random.default_rng(1).integers(0, 11, (2, 7)), jnp.int32)

HEADS = {
    "softmax": dict(),
    "untied link": dict(tied=False, link="multimax(c1=0.3, c3=0.1, d1=1.0)"),
    "mos": dict(head="mos(components=3)"),
    "mos untied link": dict(head="mos(components=3)", tied=False, link="sigsoftmax"),
    "moss": dict(head="moss(components=3)"),
    "cache": dict(head="cache"),
    "cache untied link": dict(head="cache", tied=False, link="sigsoftmax"),
}


def build(**options) -> nn.Transformer:
    return nn.Transformer(nn.TransformerConfig(**SIZES, **options), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "untied" in name else [])
        for name in HEADS
    ],
)
def test_losses_are_those_of_the_logits(name: str) -> None:
    """Values and the gradients of every parameter."""
    model = build(**HEADS[name])
    smoothing = 0.0 if "head" in HEADS[name] else 0.1
    # A cache has the token after a state, which is its label.
    labels = jnp.concatenate([TOKENS[:, 1:], LABELS[:, -1:]], axis=1)

    def ours(model):
        states, _ = model.states(TOKENS)
        return model.losses(states, labels, label_smoothing=smoothing).mean()

    def dense(model):
        log_p = jax.nn.log_softmax(model(TOKENS))
        target = optax.smooth_labels(jax.nn.one_hot(labels, 11), smoothing)
        return -(target * log_p).sum(-1).mean()

    found = nnx.jit(nnx.value_and_grad(ours))(model)
    expected = nnx.jit(nnx.value_and_grad(dense))(model)
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_the_logits_of_a_mixture_are_log_probabilities() -> None:
    model = build(head="mos(components=3)")
    logits = model(TOKENS)
    np.testing.assert_allclose(jnp.exp(logits).sum(-1), 1, rtol=1e-5)
    sampled = nn.generate(model, TOKENS[:, :3], 4, key=jax.random.key(0))
    assert sampled.shape == (2, 7)


def test_a_cache_says_again_what_it_read() -> None:
    """By hand: every earlier state adds e^(h.h' / sqrt d) to the token after it."""
    model = build(head="cache")
    states, _ = model.states(TOKENS)
    logits, _ = model.run(TOKENS)
    mass = jnp.exp(model.logits(states))
    t = TOKENS.shape[1]
    for i in range(t - 1):
        score = jnp.exp((states @ states[:, i, :, None])[..., 0] / 4)
        score = jnp.where(jnp.arange(t) > i, score, 0)
        mass += score[..., None] * jax.nn.one_hot(TOKENS[:, i + 1], 11)[:, None]
    expected = mass / mass.sum(-1, keepdims=True)
    np.testing.assert_allclose(jnp.exp(logits), expected, rtol=2e-5)


def test_a_cache_decodes_step_by_step_what_it_makes_of_the_whole() -> None:
    model = build(head="cache")
    graph, state = nnx.split(model)

    @jax.jit
    def run(tokens, start, caches):
        logits, layers = nnx.merge(graph, state).run(tokens, start=start, caches=caches)
        return logits, [layer.cache for layer in layers]

    whole = nnx.jit(type(model).__call__)(model, TOKENS)
    logits, caches = run(TOKENS[:, :3], 0, model.empty_caches(2, 7))
    parts = [logits]
    for t in range(3, 7):
        logits, caches = run(TOKENS[:, t : t + 1], t, caches)
        parts.append(logits)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)
    sampled = nn.generate(model, TOKENS[:, :3], 4, key=jax.random.key(0))
    assert sampled.shape == (2, 7)


def test_documents_that_are_packed_do_not_see_each_others_cache() -> None:
    model = build(head="cache")
    segments = jnp.asarray([[1, 1, 1, 2, 2, 2, 2]] * 2, jnp.int32)
    call = nnx.jit(lambda model, *tokens, **options: model(*tokens, **options))
    packed = call(model, TOKENS, segment_ids=segments)
    alone = call(model, TOKENS[:, :3])
    np.testing.assert_allclose(packed[:, :3], alone, atol=1e-5)
    states, _ = model.states(TOKENS, segment_ids=segments)
    losses = model.losses(states[:, :-1], TOKENS[:, 1:], segment_ids=segments[:, :-1])
    expected = optax.softmax_cross_entropy_with_integer_labels(
        packed[:, :-1], TOKENS[:, 1:]
    )
    inside = np.array([0, 1, 3, 4, 5])
    np.testing.assert_allclose(losses[:, inside], expected[:, inside], atol=1e-5)


def test_a_cache_sees_whole_sequences() -> None:
    with pytest.raises(sj.UserError, match='head="cache" looks at whole sequences'):
        build(head="cache").states(TOKENS, partition=sj.Partition(sequence="context"))


def test_a_mixture_ranks_both_diagonals_where_one_softmax_cannot() -> None:
    """w_a + w_b = w_c + w_d and the target half a, half b: ln 4 against ln 2."""
    classes = jnp.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    labels = jnp.array([0, 1], jnp.int32)

    def fit(loss, parameters) -> float:
        def step(parameters, _):
            value, gradient = jax.value_and_grad(loss)(parameters)
            return parameters - 0.5 * gradient, value

        return float(
            jax.jit(lambda p: jax.lax.scan(step, p, length=300)[1])(parameters)[-1]
        )

    def one(hidden):
        rows = jnp.broadcast_to(hidden[None], (2, 2))
        return sj.losses.linear_cross_entropy(rows, classes, labels).mean()

    def two(latents):
        rows = jnp.broadcast_to(latents[None], (2, 2, 2))
        prior = jnp.zeros((2, 2))
        return mixture_cross_entropy(rows, prior, classes, labels).mean()

    start = jnp.array([0.3, -0.2])
    assert fit(one, start) == pytest.approx(np.log(4), abs=1e-3)
    assert fit(two, jnp.stack([start, -start])) == pytest.approx(np.log(2), abs=1e-2)


def test_mistakes_are_named() -> None:
    with pytest.raises(sj.UserError, match="has the link sigsoftmax; leave link=None"):
        build(head="moss", link="sigsoftmax")
    with pytest.raises(sj.UserError, match="no head is called 'mso'"):
        build(head="mso")
    model = build(head="mos")
    with pytest.raises(NotImplementedError, match="label_smoothing"):
        model.losses(model.states(TOKENS)[0], LABELS, label_smoothing=0.1)
