"""The linear cross-entropy is the dense one, and never holds its logits."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.losses import PLIF, linear_cross_entropy
from softmax_jax.losses.links import parse_link
from softmax_jax.normalizers.base import Ratio
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax

pytestmark = pytest.mark.core

D = 4
# (tokens, classes) against tiles of (4, 5): prime, smaller, whole, one more, many.
SIZES = [(7, 13), (2, 3), (8, 10), (5, 6), (1, 1)]
LINKS = [
    "softmax(temperature=0.7)",
    "sigsoftmax(k=2.5, c=0.3)",
    "multimax(c1=0.3, c2=-0.2, c3=0.1, c4=0.2, b1=0.1, d1=0.4, b2=-0.6, d2=0.9)",
    "logistic_softmax(temperature=1.3)",
    "sigmoid",
    "relu(eps=0.1)",
    "soft_cap(cap=2)",
    "plif(intervals=8, limit=3)",
]


def problem(tokens: int, classes: int, dtype=np.float32) -> list[jax.Array]:
    """Hidden states, class vectors, labels of which one is ignored, and biases."""
    rng = np.random.default_rng(tokens + classes)
    x, weight = rng.normal(size=(tokens, D)), rng.normal(size=(classes, D))
    bias = rng.normal(size=classes)
    labels = jnp.asarray(rng.integers(0, classes, tokens), jnp.int32)
    labels = labels.at[0].set(-1) if tokens > 1 else labels
    x, weight, bias = (jnp.asarray(a, dtype) for a in (x, weight, bias))
    return [x, weight, labels, bias]


def dense(x, weight, labels, bias, link="softmax", z_loss=0.0, label_smoothing=0.0):
    """The definition, through all logits."""
    u = parse_link(link).log_weight(x @ weight.T + bias[None])
    log_mass = jax.nn.logsumexp(u, axis=-1)
    at_label = jnp.take_along_axis(u, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    loss = (1 - label_smoothing) * (log_mass - at_label)
    loss += label_smoothing * (log_mass - u.mean(-1)) + z_loss * log_mass**2
    return jnp.where(labels >= 0, loss, 0)


def compare(function, operands, link, tolerance, **options) -> None:
    """Losses and every gradient, under a cotangent that differs between tokens."""
    x, weight, labels, bias = operands

    def run(function, **more):
        def losses(x, weight, bias, link):
            return function(x, weight, labels, bias, link=link, **options, **more)

        value, pull = jax.vjp(losses, x, weight, bias, link)
        return value, pull(1 + jnp.arange(value.size, dtype=value.dtype))

    expected = jax.jit(lambda: run(dense))()
    found = jax.jit(lambda: run(function, tile=(4, 5)))()
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert got.dtype == want.dtype
        scale = max(1.0, float(jnp.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def as_arrays(link: Ratio, dtype) -> Ratio:
    """The link with leaves to differentiate by; the slopes of PLIF differ."""
    if isinstance(link, PLIF):
        link = link.fill(raw=jnp.linspace(-1, 2, link.intervals))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), link)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_is_the_dense_loss_at_any_size(sizes: tuple[int, int]) -> None:
    link = as_arrays(Sigsoftmax(), jnp.float32)
    options = dict(z_loss=0.1, label_smoothing=0.2)
    compare(linear_cross_entropy, problem(*sizes), link, 2e-6, **options)


@pytest.mark.parametrize("spec", LINKS)
@pytest.mark.usefixtures("x64")
def test_it_is_the_dense_loss_for_every_link(spec: str) -> None:
    link = as_arrays(parse_link(spec), jnp.float64)
    options = dict(z_loss=0.1, label_smoothing=0.2)
    compare(linear_cross_entropy, problem(7, 13, np.float64), link, 1e-13, **options)


class LogQuadratic(Ratio):
    """A user's own."""

    def log_weight(self, z):
        return jnp.log1p(z * z)


def test_a_link_of_ones_own() -> None:
    compare(linear_cross_entropy, problem(7, 13), LogQuadratic(), 2e-6)


def test_plif_starts_at_the_identity_and_follows_its_slopes() -> None:
    z = jnp.linspace(-6, 6, 25)
    np.testing.assert_allclose(PLIF(limit=4.0).log_weight(z), z, atol=1e-5)
    raw = jnp.log(jnp.expm1(jnp.array([0.5, 1.0, 2.0, 3.0])))
    found = PLIF(raw=raw, intervals=4, limit=4.0).log_weight(z)
    knots = np.array([-6, -4, -2, 0, 2, 4, 6])
    values = np.array([-5, -4, -3, -1, 3, 9, 15])
    np.testing.assert_allclose(found, np.interp(z, knots, values), atol=1e-5)


def largest(jaxpr) -> int:
    """The size of the largest array in a jaxpr, at any depth."""

    def inner() -> Iterator[int]:
        for equation in jaxpr.eqns:
            yield from (v.aval.size for v in equation.outvars)
            for value in jax.tree.leaves(
                list(equation.params.values()),
                is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"),
            ):
                if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                    yield largest(getattr(value, "jaxpr", value))

    return max(inner(), default=0)


def test_logits_are_never_an_array() -> None:
    tokens, classes, tile = 48, 60, (4, 5)
    x, weight, labels, bias = problem(tokens, classes)

    def gradients(function, **options):
        def total(x, weight, bias):
            return function(x, weight, labels, bias, **options).sum()

        gradient = jax.grad(total, (0, 1, 2))
        return largest(jax.make_jaxpr(gradient)(x, weight, bias).jaxpr)

    options = dict(label_smoothing=0.1, z_loss=0.1)
    assert gradients(dense, **options) == tokens * classes
    found = gradients(linear_cross_entropy, tile=tile, **options)
    assert found == classes * D


@pytest.mark.parametrize("axis", [0, 1])
def test_memory_grows_with_tokens_plus_classes(axis: int) -> None:
    """Of the compiled program, beyond its operands and results."""

    def temporary(tokens: int, classes: int) -> int:
        x, weight, labels, _ = problem(tokens, classes)

        def total(x, weight):
            return linear_cross_entropy(x, weight, labels, tile=(64, 64)).sum()

        program = jax.jit(jax.grad(total, (0, 1))).lower(x, weight).compile()
        return program.memory_analysis().temp_size_in_bytes

    sizes = [[1024, 1024] for _ in range(3)]
    for i, factor in enumerate((1, 2, 4)):
        sizes[i][axis] *= factor
    one, two, four = (temporary(*pair) for pair in sizes)
    row = 4 * 1024 * (2 * D + 8)  # copies of an operand, and numbers per token
    assert two - one <= row and four - two <= 2 * row
    assert four < 4 * 4 * 1024 * 1024 / 8  # far from logits


def test_half_precision_adds_up_in_float32() -> None:
    """In bfloat16 the sums over 40 tiles would lose all but two digits."""
    x, weight, labels, bias = problem(64, 200)
    half = [a.astype(jnp.bfloat16) for a in (x, weight, bias)]
    whole = [a.astype(jnp.float32) for a in half]

    def run(x, weight, bias):
        def losses(x, weight, bias):
            return linear_cross_entropy(x, weight, labels, bias, tile=(8, 5))

        loss, pull = jax.vjp(losses, x, weight, bias)
        return loss, pull(jnp.ones_like(loss))

    found, gradients = jax.jit(run)(*half)
    expected, exact = jax.jit(run)(*whole)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for got, want in zip(gradients, exact, strict=True):
        assert got.dtype == jnp.bfloat16
        off = jnp.abs(got.astype(jnp.float32) - want).max()
        assert off <= 2**-7 * jnp.abs(want).max()


def test_an_ignored_token_may_be_anything() -> None:
    x, weight, labels, bias = problem(7, 13)

    def total(x, weight, bias):
        return linear_cross_entropy(x, weight, labels, bias, tile=(4, 5)).sum()

    both = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    expected = both(x, weight, bias)
    found = both(x.at[0].set(jnp.nan), weight, bias)
    assert (found[1][0][0] == 0).all()
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("link", ["softmax", "multimax(c1=0.3, c3=0.1)"])
def test_a_class_with_a_bias_of_minus_infinity_is_absent(link: str) -> None:
    x, weight, labels, bias = problem(7, 13)
    labels = jnp.minimum(labels, 11)

    def total(x, weight, bias):
        loss = linear_cross_entropy(
            x, weight, labels, bias, link=link, label_smoothing=0.1, tile=(4, 5)
        )
        return loss.sum()

    both = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    expected, exact = both(x, weight[:12], bias[:12])
    found, gradients = both(x, weight, bias.at[12].set(-jnp.inf))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], exact[0], atol=1e-6)
    assert (gradients[1][12] == 0).all() and gradients[2][12] == 0


def test_large_logits() -> None:
    x, weight, labels, bias = problem(7, 13)

    def total(x):
        return linear_cross_entropy(x, weight, labels, bias, tile=(4, 5)).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(1e4 * x)
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()
    np.testing.assert_allclose(
        value, dense(1e4 * x, weight, labels, bias).sum(), rtol=1e-5
    )


def test_a_label_outside_and_a_visible_nan_are_not_hidden() -> None:
    x, weight, _, bias = problem(2, 13)
    loss = linear_cross_entropy(x, weight, jnp.array([13, 1]), bias, tile=(4, 5))
    assert jnp.isnan(loss[0]) and jnp.isfinite(loss[1])
    bad = weight.at[5].set(jnp.nan)
    assert jnp.isnan(linear_cross_entropy(x, bad, jnp.array([0, 1]), bias)).all()


def test_leading_axes() -> None:
    x, weight, labels, bias = problem(8, 13)
    flat = linear_cross_entropy(x, weight, labels, bias)
    found = linear_cross_entropy(x.reshape(2, 4, D), weight, labels.reshape(2, 4), bias)
    np.testing.assert_allclose(found, flat.reshape(2, 4), rtol=1e-6)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a user calls it: types are checked in tests only.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, weight, labels, bias = problem(7, 13)
    for link in ("softmax1", "ssmax", "sparsemax", "softpick", "t_softmax"):
        with pytest.raises(UserError, match="link must be a softmax of mapped scores"):
            linear_cross_entropy(x, weight, labels, link=link)
    with pytest.raises(UserError, match="nearest: .*soft_cap"):
        linear_cross_entropy(x, weight, labels, link="softcap")
    with pytest.raises(UserError, match="one number for all logits, got shape"):
        link = Sigsoftmax(k=jnp.ones(5))
        linear_cross_entropy(x, weight, labels, link=link, tile=(4, 5))
    with pytest.raises(UserError, match="weight must have a row of 4 numbers"):
        linear_cross_entropy(x, weight.T, labels)
    with pytest.raises(UserError, match="one label per token"):
        linear_cross_entropy(x, weight, labels[1:])
    with pytest.raises(UserError, match="bias must have shape"):
        linear_cross_entropy(x, weight, labels, bias[1:])
    with pytest.raises(UserError, match="tile must be at least"):
        linear_cross_entropy(x, weight, labels, tile=(0, 5))
