"""What can be proved of the losses of sparsemax and entmax, and their manners."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import softmax_jax as sj
from softmax_jax.errors import UserError
from softmax_jax.losses import entmax_loss, sparsemax_loss

pytestmark = pytest.mark.core

LOSSES = {
    "sparsemax": (sparsemax_loss, sj.sparsemax, 2.0),
    "entmax15": (entmax_loss, sj.entmax15, 1.5),
    "entmax 1.25": (
        functools.partial(entmax_loss, alpha=1.25),
        functools.partial(sj.entmax, alpha=1.25),
        1.25,
    ),
    "entmax 3": (
        functools.partial(entmax_loss, alpha=3.0),
        functools.partial(sj.entmax, alpha=3.0),
        3.0,
    ),
}
every = pytest.mark.parametrize("name", LOSSES)


def draw(dtype=np.float32) -> tuple[jax.Array, jax.Array]:
    """Rows of 6 logits with each label, [24, 6]."""
    z = np.random.default_rng(0).normal(size=(4, 1, 6)).astype(dtype)
    return jnp.asarray(np.repeat(z, 6, 1).reshape(24, 6)), jnp.tile(jnp.arange(6), 4)


@every
@pytest.mark.usefixtures("x64")
def test_it_is_the_largest_value_over_the_simplex(name: str) -> None:
    """No p is better than that of the map, whose value it is."""
    loss, normalize, alpha = LOSSES[name]
    z, labels = draw(np.float64)

    def value(p):
        entropy = (p - p**alpha).sum(-1) / (alpha * (alpha - 1))
        return (p * z).sum(-1) + entropy - z[np.arange(24), labels]

    found = jax.jit(loss)(z, labels)
    np.testing.assert_allclose(found, value(normalize(z)), atol=1e-12)
    others = np.random.default_rng(1).dirichlet(np.ones(6), size=(50, 24))
    near = 0.9 * normalize(z)[None] + 0.1 * jnp.asarray(others)
    assert (
        found[None] >= jax.vmap(value)(jnp.concatenate([near, others])) - 1e-12
    ).all()


@every
def test_the_gradient_is_weights_minus_label(name: str) -> None:
    loss, normalize, _ = LOSSES[name]
    z, labels = draw()
    found = jax.jit(jax.grad(lambda z: loss(z, labels).sum()))(z)
    expected = normalize(z) - jax.nn.one_hot(labels, 6)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@every
@pytest.mark.usefixtures("x64")
def test_derivatives_of_both_orders_are_those_of_the_loss(name: str) -> None:
    loss = LOSSES[name][0]
    z = jnp.asarray(np.random.default_rng(3).normal(size=5))
    one = jax.jit(functools.partial(loss, labels=jnp.array(3)))
    check_grads(one, (z,), order=2, modes=("fwd", "rev"), atol=1e-6)


@every
def test_zero_is_reached_exactly_with_the_margin(name: str) -> None:
    loss, _, alpha = LOSSES[name]
    margin = 1 / (alpha - 1)
    z = jnp.array([[0.3, margin + 0.31, -1.0], [0.3, 0.9 * margin + 0.3, -1.0]])

    @jax.jit
    def run(z):
        found, pull = jax.vjp(lambda z: loss(z, jnp.array([1, 1])), z)
        return found, pull(jnp.ones(2))[0]

    found, gradient = run(z)
    assert found[0] == 0 and (gradient[0] == 0).all()
    assert found[1] > 0
    assert (jax.jit(loss)(*draw()) >= 0).all()


def test_sparsemax_is_that_of_optax() -> None:
    z, labels = draw()
    with jax.numpy_dtype_promotion("standard"):
        expected = optax.losses.multiclass_sparsemax_loss(z, labels)
    np.testing.assert_allclose(sparsemax_loss(z, labels), expected, atol=1e-6)


def test_it_tends_to_cross_entropy() -> None:
    z, labels = draw()
    expected = optax.softmax_cross_entropy_with_integer_labels(z, labels)
    found = entmax_loss(z, labels, alpha=1.0005)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert jnp.abs(entmax_loss(z, labels, alpha=1.25) - expected).max() > 0.05


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_the_general_one_agrees_with_the_quick_ones(alpha: float) -> None:
    z, labels = draw()
    general = entmax_loss(z, labels, alpha=jnp.float32(alpha))
    np.testing.assert_allclose(
        general, entmax_loss(z, labels, alpha=alpha), rtol=1e-5, atol=1e-6
    )


@pytest.mark.usefixtures("x64")
def test_alpha_has_its_gradient() -> None:
    z, labels = draw(np.float64)

    def total(alpha):
        return entmax_loss(z, labels, alpha=alpha).sum()

    check_grads(total, (jnp.float64(1.3),), order=1, atol=1e-6)


def test_masked_classes_are_as_if_absent() -> None:
    z = jnp.array([0.5, jnp.nan, 0.1, -jnp.inf, 1e4])
    where = jnp.array([True, False, True, True, False])

    def masked(z):
        return entmax_loss(z, jnp.array(2), where=where)

    value, found = jax.jit(jax.value_and_grad(masked))(z)
    seen = jax.jit(jax.value_and_grad(entmax_loss))
    whole, expected = seen(jnp.array([0.5, 0.1]), jnp.array(1))
    np.testing.assert_allclose(value, whole, rtol=1e-6)
    np.testing.assert_allclose(found[::2][:2], expected, rtol=1e-6)
    assert (found[jnp.array([1, 3, 4])] == 0).all()
    assert entmax_loss(z, jnp.array(3), where=where) == jnp.inf


def test_an_empty_row_costs_nothing_and_a_nan_is_not_hidden() -> None:
    z = jnp.full(3, jnp.nan)
    value, found = jax.value_and_grad(sparsemax_loss)(
        z, jnp.array(1), where=jnp.zeros(3, bool)
    )
    assert value == 0 and (found == 0).all()
    assert jnp.isnan(sparsemax_loss(z, jnp.array(1)))
    assert jnp.isnan(sparsemax_loss(jnp.zeros(3), jnp.array(3)))


def test_large_logits_in_half_precision() -> None:
    z = jnp.array([1e4, -1e4, 9990.0], jnp.bfloat16)
    value, gradient = jax.value_and_grad(entmax_loss)(z, jnp.array(1))
    assert value.dtype == jnp.float32
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


def test_mistakes_are_named() -> None:
    unchecked = inspect.unwrap(sparsemax_loss)
    with pytest.raises(UserError, match="one label per row"):
        unchecked(jnp.zeros((2, 3)), jnp.array(0))
    with pytest.raises(UserError, match="alpha must lie strictly between 1 and inf"):
        entmax_loss(jnp.zeros(3), jnp.array(0), alpha=1.0)
