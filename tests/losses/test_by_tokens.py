"""A loss of a few tokens at a time is the loss of all."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.losses import (
    entmax_loss,
    linear_loss,
    sparse_softmax_loss,
    sparsemax_loss,
)

pytestmark = pytest.mark.core

LOSSES = {
    "sparsemax": sparsemax_loss,
    "entmax": functools.partial(entmax_loss, alpha=1.25),
    "sparse_softmax": functools.partial(sparse_softmax_loss, k=3),
}


def problem(tokens: int = 14, classes: int = 11) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    shapes = (2, tokens // 2, 4), (classes, 4), (classes,)
    x, weight, bias = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    labels = rng.integers(0, classes, (2, tokens // 2))
    return [x, weight, bias, jnp.asarray(labels, jnp.int32).at[0, 1].set(-1)]


@pytest.mark.parametrize("name", LOSSES)
def test_it_is_the_loss_of_all_logits(name: str) -> None:
    loss = LOSSES[name]
    x, weight, bias, labels = problem()

    def dense(x, weight, bias):
        z = x @ weight.T + bias[None, None]
        return jnp.where(labels >= 0, loss(z, jnp.maximum(labels, 0)), 0)

    def ours(x, weight, bias):
        return linear_loss(loss, x, weight, labels, bias, tokens=4)

    def run(function):
        value, pull = jax.vjp(function, x, weight, bias)
        return value, pull(1 + value)

    found, expected = jax.jit(lambda: run(ours))(), jax.jit(lambda: run(dense))()
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert found[0][0, 1] == 0


def test_only_the_logits_of_a_few_tokens_are_in_memory() -> None:
    x, weight, _, labels = problem(1024, 512)

    def temporary(**options) -> int:
        def total(x, weight):
            return linear_loss(sparsemax_loss, x, weight, labels, **options).sum()

        program = jax.jit(jax.grad(total, (0, 1))).lower(x, weight).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(tokens=32) < temporary(tokens=1024) / 8


def test_sums_are_in_float32() -> None:
    """1 + 1 + ... in bfloat16 stays at 256."""
    x = jnp.ones((1024, 1), jnp.bfloat16)
    weight, labels = jnp.zeros((2, 1), jnp.bfloat16), jnp.zeros(1024, jnp.int32)
    found = jax.grad(
        lambda w: linear_loss(sparsemax_loss, x, w, labels, tokens=1).sum()
    )(weight)
    assert found.tolist() == [[-512], [512]]


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a user calls it: types are checked in tests only.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, weight, _, labels = problem()
    with pytest.raises(UserError, match="do not fit each other"):
        linear_loss(sparsemax_loss, x, weight[:, :3], labels)
