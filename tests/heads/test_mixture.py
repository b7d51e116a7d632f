"""Mixtures of softmaxes are what their formula says, and train in their own memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.errors import UserError
from softmax_jax.heads import (
    MoS,
    mixture_cross_entropy,
    mixture_log_probabilities,
    parse_head,
)

pytestmark = pytest.mark.core

TOKENS, K, CLASSES, D = 7, 3, 13, 4
LINKS = {"mos": "softmax", "moss": "sigsoftmax"}


def problem(dtype=np.float32) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    shapes = (TOKENS, K, D), (TOKENS, K), (CLASSES, D), (CLASSES,)
    arrays = [jnp.asarray(2 * rng.normal(size=s), dtype) for s in shapes]
    labels = jnp.asarray(rng.integers(0, CLASSES, TOKENS), jnp.int32)
    return [*arrays, labels]


def probabilities(latents, prior, weight, bias, link: str) -> jax.Array:
    """The definition, in probabilities."""
    z = jnp.einsum("tkd,vd->tkv", latents, weight) + bias[None, None]
    p = sj.parse(link)(z)
    return (jax.nn.softmax(prior)[..., None] * p).sum(1)


@pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))
@pytest.mark.usefixtures("x64")
def test_loss_and_gradients_are_those_of_the_formula(link: str) -> None:
    *operands, labels = problem(np.float64)

    def ours(*operands):
        latents, prior, weight, bias = operands
        return mixture_cross_entropy(
            latents, prior, weight, labels, bias, link=link, tile=(4, 5)
        )

    def dense(*operands):
        return -jnp.log(probabilities(*operands, link)[jnp.arange(TOKENS), labels])

    def run(function):
        value, pull = jax.vjp(function, *operands)
        return value, pull(jnp.arange(1.0, TOKENS + 1))

    found, expected = jax.jit(lambda: run(ours))(), jax.jit(lambda: run(dense))()
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-11)


@pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))
@pytest.mark.usefixtures("x64")
def test_log_probabilities_are_those_of_the_formula(link: str) -> None:
    *operands, labels = problem(np.float64)
    latents, prior, weight, bias = operands
    found = mixture_log_probabilities(latents, prior, weight, bias, link=link)
    np.testing.assert_allclose(
        found, jnp.log(probabilities(*operands, link)), atol=1e-12
    )
    np.testing.assert_allclose(jnp.exp(found).sum(-1), 1, atol=1e-12)
    loss = mixture_cross_entropy(latents, prior, weight, labels, bias, link=link)
    np.testing.assert_allclose(loss, -found[jnp.arange(TOKENS), labels], atol=1e-12)


def test_identities() -> None:
    """One component and equal ones are one softmax; order does not matter; bounds."""
    latents, prior, weight, bias, labels = problem()
    loss = jax.jit(lambda *a: mixture_cross_entropy(*a[:3], labels, *a[3:]))
    each = jnp.stack(
        [
            sj.losses.linear_cross_entropy(latents[:, k], weight, labels, bias)
            for k in range(K)
        ],
        axis=1,
    )
    found = loss(latents, prior, weight, bias)
    one = loss(latents[:, :1], prior[:, :1], weight, bias)
    np.testing.assert_allclose(one, each[:, 0], rtol=1e-6, atol=1e-6)
    alike = loss(jnp.repeat(latents[:, :1], K, 1), prior, weight, bias)
    np.testing.assert_allclose(alike, each[:, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        loss(latents[:, ::-1], prior[:, ::-1], weight, bias), found, rtol=1e-6
    )
    assert (found[:, None] <= each - jax.nn.log_softmax(prior) + 1e-5).all()


def test_a_loss_of_any_size_is_what_it_is() -> None:
    """1e-8 inside the logarithm would end it at 18.4."""
    latents, weight = jnp.full((1, 2, 1), 100.0), jnp.array([[1.0], [-1.0]])
    prior, label = jnp.zeros((1, 2)), jnp.array([1])

    def total(latents):
        return mixture_cross_entropy(latents, prior, weight, label).sum()

    value, gradient = jax.value_and_grad(total)(latents)
    np.testing.assert_allclose(value, 200, rtol=1e-6)
    np.testing.assert_allclose(gradient, jnp.ones((1, 2, 1)), rtol=1e-6)


def test_an_ignored_token_may_be_anything() -> None:
    latents, prior, weight, bias, labels = problem()
    labels = labels.at[2].set(-1)

    def total(latents, prior, weight):
        return mixture_cross_entropy(latents, prior, weight, labels, bias).sum()

    both = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    expected = both(latents, prior, weight)
    found = both(latents.at[2].set(jnp.nan), prior.at[2].set(jnp.nan), weight)
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_memory_is_that_of_one_component_and_the_latents() -> None:
    """A dense mixture holds K arrays of logits."""
    tokens, classes, components = 512, 4096, 8
    shapes = (tokens, components, D), (tokens, components), (classes, D)
    operands = [jnp.ones(shape) for shape in shapes]
    labels = jnp.zeros(tokens, jnp.int32)

    def total(*operands):
        return mixture_cross_entropy(*operands, labels, tile=(64, 64)).sum()

    program = jax.jit(jax.grad(total, (0, 1, 2))).lower(*operands).compile()
    temporary = program.memory_analysis().temp_size_in_bytes
    latents = 4 * tokens * components * D
    assert temporary < 6 * (latents + 4 * classes * D)
    assert temporary < 4 * tokens * classes / 4


def test_specs() -> None:
    assert parse_head("mos(components=15)") == MoS(components=15)
    assert parse_head("moss").link == "sigsoftmax"
    with pytest.raises(UserError, match="no head is called 'mosss'; nearest: moss"):
        parse_head("mosss")
    with pytest.raises(UserError, match="components must be at least 1, got 0"):
        parse_head("mos(components=0)")
