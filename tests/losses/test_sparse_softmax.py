"""What can be proved of the sparse-softmax loss, and its manners."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.losses import sparse_softmax_loss
from softmax_jax.normalizers.sparse_softmax import sparse_softmax

K = 3
loss = jax.jit(sparse_softmax_loss, static_argnames="k")
gradient = jax.jit(
    jax.grad(lambda z, labels, k: sparse_softmax_loss(z, labels, k=k).sum()),
    static_argnames="k",
)


def rows() -> tuple[jax.Array, jax.Array]:
    """Distinct logits, [24, 6], with every label at every rank."""
    z = jax.random.normal(jax.random.key(0), (4, 1, 6))
    labels = jnp.tile(jnp.arange(6), 4)
    return jnp.repeat(z, 6, axis=1).reshape(24, 6), labels


def cross_entropy(z: jax.Array, labels: jax.Array) -> jax.Array:
    picked = jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], axis=1)
    return -picked[:, 0]


def test_the_formula_with_the_label_inside_and_outside() -> None:
    z, labels = map(np.asarray, rows())
    top = np.sort(z, axis=1)[:, -K:]
    at = np.arange(24)
    expected = np.log(np.exp(top).sum(1)) - z[at, labels]
    np.testing.assert_allclose(loss(z, labels, k=K), expected, rtol=1e-5, atol=1e-6)


def test_bounds() -> None:
    """At least log k where the label is left out, and never above cross-entropy."""
    z, labels = rows()
    found = loss(z, labels, k=K)
    outside = (z > jnp.take_along_axis(z, labels[:, None], axis=1)).sum(1) >= K
    assert outside.sum() == 12
    assert (found[outside] >= np.log(K)).all()
    assert (found < cross_entropy(z, labels)).all()


@pytest.mark.parametrize("k", [6, 7])
def test_with_k_from_n_on_it_is_cross_entropy(k: int) -> None:
    z, labels = rows()
    np.testing.assert_allclose(
        loss(z, labels, k=k), cross_entropy(z, labels), rtol=1e-5, atol=1e-6
    )


def test_the_gradient_is_weights_minus_label_and_sums_to_zero() -> None:
    z, labels = rows()
    found = gradient(z, labels, k=K)
    expected = sparse_softmax(z, k=K) - jax.nn.one_hot(labels, 6)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-6)
    others = np.asarray(sparse_softmax(z, k=K) == 0) & ~jax.nn.one_hot(
        labels, 6, dtype=bool
    )
    assert others.any() and (np.asarray(found)[others] == 0).all()


@pytest.mark.usefixtures("x64")
def test_the_gradient_is_that_of_the_loss() -> None:
    """Central differences in float64, ranks well apart."""
    z = jnp.array([1.5, -0.5, 0.7, 0.2, -1.5])
    steps = 1e-6 * jnp.eye(5)
    labels = jnp.arange(5)

    @jax.jit
    def losses(z: jax.Array) -> jax.Array:
        return sparse_softmax_loss(jnp.broadcast_to(z, (5, 5)), labels, k=2)

    exact = jax.jacobian(losses)(z)
    up, down = (jnp.stack([losses(z + s * d) for d in steps], 1) for s in (1, -1))
    np.testing.assert_allclose(exact, (up - down) / 2e-6, atol=1e-9)


def test_ties_with_the_kth_largest_all_take_part() -> None:
    z = jnp.array([2.0, 1.0, 1.0, 0.0])
    expected = np.log(np.e**2 + 2 * np.e) - 2
    assert float(sparse_softmax_loss(z, jnp.array(0), k=2)) == pytest.approx(expected)
    assert float(sparse_softmax_loss(jnp.zeros(4), jnp.array(1), k=2)) == pytest.approx(
        np.log(4)
    )


def test_masked_classes_are_as_if_absent() -> None:
    z = jnp.array([0.5, jnp.nan, 0.1, -1.0, 1e4])
    where = jnp.array([True, False, True, True, False])
    seen = jnp.array([0.5, 0.1, -1.0])

    def masked(z: jax.Array) -> jax.Array:
        return sparse_softmax_loss(z, jnp.array(3), k=2, where=where)

    value, found = jax.value_and_grad(masked)(z)
    whole, expected = jax.value_and_grad(sparse_softmax_loss)(seen, jnp.array(2), k=2)
    np.testing.assert_allclose(value, whole, rtol=1e-6)
    np.testing.assert_allclose(found[where], expected, rtol=1e-6)
    assert (found[~where] == 0).all()


def test_a_logit_of_minus_infinity_is_masked_too() -> None:
    z = jnp.array([0.5, -jnp.inf, 0.1])
    value = loss(z, jnp.array(0), k=3)
    shown = loss(z[jnp.array([0, 2])], jnp.array(0), k=3)
    assert float(value) == pytest.approx(float(shown))
    assert loss(z, jnp.array(1), k=3) == jnp.inf


def test_a_row_without_classes_costs_nothing() -> None:
    value, found = jax.value_and_grad(sparse_softmax_loss)(
        jnp.full(3, jnp.nan), jnp.array(1), where=jnp.zeros(3, bool)
    )
    assert value == 0
    assert (found == 0).all()


def test_a_visible_nan_is_not_hidden() -> None:
    z = jnp.array([3.0, jnp.nan, 2.0, 1.0])
    assert jnp.isnan(loss(z, jnp.array(0), k=2))


def test_half_precision_is_computed_in_float32() -> None:
    z, labels = rows()
    half = z.astype(jnp.bfloat16)
    found = loss(half, labels, k=K)
    assert found.dtype == jnp.float32
    expected = loss(half.astype(jnp.float32), labels, k=K)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_leading_axes() -> None:
    z, labels = rows()
    shaped = loss(z.reshape(2, 12, 6), labels.reshape(2, 12), k=K)
    np.testing.assert_allclose(shaped.reshape(24), loss(z, labels, k=K), rtol=1e-6)


def test_mistakes_are_named() -> None:
    unchecked = inspect.unwrap(sparse_softmax_loss)  # without the types of the tests
    with pytest.raises(UserError, match="k must be at least 1, got 0"):
        sparse_softmax_loss(jnp.zeros(3), jnp.array(0), k=0)
    with pytest.raises(UserError, match="one label per row"):
        unchecked(jnp.zeros((2, 3)), jnp.array(0))
