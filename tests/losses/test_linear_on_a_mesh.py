"""Tokens and classes split over devices give what one device gives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from softmax_jax.errors import UserError
from softmax_jax.losses import linear_cross_entropy
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax

BATCH, LENGTH, CLASSES, D = 4, 6, 24, 4


@pytest.fixture
def mesh():
    mesh = jax.make_mesh((2, 2, 2), ("data", "tensor", "context"), (AxisType.Auto,) * 3)
    with jax.set_mesh(mesh):
        yield mesh


def problem() -> list[jax.Array]:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(BATCH, LENGTH, D)), rng.normal(size=(CLASSES, D))
    labels = rng.integers(-1, CLASSES, (BATCH, LENGTH))
    arrays = (jnp.asarray(a, jnp.float32) for a in (x, weight, weight[:, 0]))
    return [*arrays, jnp.asarray(labels, jnp.int32)]


def run(x, weight, bias, k, labels, **options):
    """Losses and the gradients of their sum, weighted."""

    def losses(x, weight, bias, k):
        return linear_cross_entropy(
            x,
            weight,
            labels,
            bias,
            link=Sigsoftmax(k=k),
            z_loss=0.1,
            label_smoothing=0.1,
            tile=(4, 5),
            **options,
        )

    loss, pull = jax.vjp(losses, x, weight, bias, k)
    return loss, pull(jnp.arange(loss.size, dtype=loss.dtype).reshape(loss.shape))


SPLITS = {
    "classes": dict(vocabulary="tensor"),
    "tokens": dict(tokens=P("data", "context")),
    "both": dict(tokens=P(("data",), "context"), vocabulary="tensor"),
    "classes over two": dict(tokens=P("data"), vocabulary=("tensor", "context")),
}


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_one_device(mesh, split: str) -> None:
    x, weight, bias, labels = problem()
    k = jnp.float32(1.7)
    expected = jax.jit(run)(x, weight, bias, k, labels)
    options = SPLITS[split]
    rows, classes = options.get("tokens", P()), P(options.get("vocabulary"))
    put = [(x, rows), (weight, classes), (bias, classes), (k, P()), (labels, rows)]
    operands = [jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in put]
    found = jax.jit(lambda *operands: run(*operands, **options))(*operands)
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


def test_logits_and_class_vectors_are_not_passed_around(mesh) -> None:
    """One number per token, and the gradient of hidden, are all that is summed."""
    x, weight, bias, labels = problem()
    classes = NamedSharding(mesh, P("tensor"))

    def gradient(x, weight, bias):
        def total(*operands):
            x, weight, bias = operands
            loss = linear_cross_entropy(
                x, weight, labels, bias, vocabulary="tensor", tile=(4, 5)
            )
            return loss.sum()

        return jax.grad(total, (0, 1, 2))(x, weight, bias)

    operands = x, jax.device_put(weight, classes), jax.device_put(bias, classes)
    out = (NamedSharding(mesh, P()), classes, classes)
    text = jax.jit(gradient, out_shardings=out).lower(*operands).compile().as_text()
    assert "all-reduce" in text
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)


def test_what_the_mesh_cannot_do_is_named(mesh) -> None:
    x, weight, _, labels = problem()
    with pytest.raises(UserError, match="has no axis expert"):
        linear_cross_entropy(x, weight, labels, vocabulary="expert")
    with pytest.raises(UserError, match="vocabulary of 23 do not divide by the 2"):
        linear_cross_entropy(x, weight[1:], labels, vocabulary="tensor")
    with pytest.raises(UserError, match="tokens of 3 do not divide by the 2"):
        linear_cross_entropy(x[1:], weight, labels[1:], tokens=P("data"))
    with pytest.raises(UserError, match="has more axes than"):
        linear_cross_entropy(x[0], weight, labels[0], tokens=P(None, "data"))
