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
}


def build(**options) -> nn.Transformer:
    return nn.Transformer(nn.TransformerConfig(**SIZES, **options), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", HEADS)
def test_losses_are_those_of_the_logits(name: str) -> None:
    """Values and the gradients of every parameter."""
    model = build(**HEADS[name])
    smoothing = 0.0 if "mos" in name else 0.1

    def ours(model):
        states, _ = model.states(TOKENS)
        return model.losses(states, LABELS, label_smoothing=smoothing).mean()

    def dense(model):
        log_p = jax.nn.log_softmax(model(TOKENS))
        target = optax.smooth_labels(jax.nn.one_hot(LABELS, 11), smoothing)
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
