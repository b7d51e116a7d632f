"""Each sample sees the prototypes it should, and each step moves what it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.losses import spectral_aware as losses

K, D, B = 3, 4, 8


def example() -> tuple[jax.Array, ...]:
    """Features, classifier, prototypes, labels and modalities."""
    draw = np.random.default_rng(0).normal
    features, weight, prototypes = (
        jnp.asarray(draw(size=(rows, D)), jnp.float32) for rows in (B, K, 2 * K)
    )
    labels = jnp.arange(B) % K
    return features, weight, prototypes, labels, jnp.arange(B) % 2


def per_sample(features, prototypes, label: int, modality: int, mask: bool) -> float:
    """The loss to the other modality, in float64 and one logit at a time."""
    logits = [float(np.dot(features, p)) for p in prototypes]
    own, other = label + K * modality, label + K * (1 - modality)
    left = [x for row, x in enumerate(logits) if row != own or not mask]
    return float(np.log(np.exp(left).sum()) - logits[other])


@pytest.mark.parametrize("mask", [True, False])
def test_the_loss_to_the_other_modality(mask: bool) -> None:
    features, _, prototypes, labels, modalities = map(np.asarray, example())
    features, prototypes = features.astype(np.float64), prototypes.astype(np.float64)
    given = zip(features, labels, modalities, strict=True)
    expected = [per_sample(x, prototypes, y, m, mask) for x, y, m in given]
    found = losses.other_modality_loss(*example()[:1], *example()[2:], mask=mask)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_masked_prototype_has_no_influence_and_no_gradient() -> None:
    features, _, prototypes, labels, modalities = example()
    features, labels, modalities = features[:1], labels[:1], modalities[:1]

    @jax.jit
    @jax.value_and_grad
    def masked(prototypes: jax.Array) -> jax.Array:
        given = (features, prototypes, labels, modalities)
        return losses.other_modality_loss(*given).sum()

    value, gradient = masked(prototypes)
    again, _ = masked(prototypes.at[0].set(1e4))
    assert again == value
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).all()


def test_modalities_can_change_names() -> None:
    features, weight, prototypes, labels, modalities = example()
    swapped = jnp.roll(prototypes, K, axis=0)
    total = jax.jit(losses.spectral_aware_loss)
    np.testing.assert_allclose(
        total(features, weight, swapped, labels, 1 - modalities),
        total(features, weight, prototypes, labels, modalities),
        rtol=1e-6,
    )


def test_equal_halves_without_mask_are_softmax_over_doubled_classes() -> None:
    features, weight, _, labels, modalities = example()
    doubled = jnp.concatenate([weight, weight])
    given = (features, doubled, labels, modalities)
    plain = losses.identity_loss(features, weight, labels) + np.log(2)
    found = losses.other_modality_loss(*given, mask=False)
    np.testing.assert_allclose(found, plain, rtol=1e-5)
    np.testing.assert_allclose(losses.own_modality_loss(*given), plain, rtol=1e-5)


def test_one_identity_has_nothing_to_tell_apart() -> None:
    features, _, prototypes, _, modalities = example()
    labels = jnp.zeros(B, int)
    found = losses.other_modality_loss(features, prototypes[:2], labels, modalities)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_absolute_similarity() -> None:
    """0 where aligned, 4 where opposite, the same at any length, tame at 0."""
    prototypes = jnp.array([[1.0, 0.0], [0.0, 3.0]])
    features = jnp.array([[0.0, 5.0], [0.0, -0.1], [2.0, 0.0], [0.0, 0.0]])
    labels, modalities = jnp.zeros(4, int), jnp.zeros(4, int)

    @jax.jit
    def total(features: jax.Array) -> jax.Array:
        given = (features, prototypes, labels, modalities)
        return losses.absolute_similarity(*given)

    np.testing.assert_allclose(total(features), [0, 4, 1, 1], atol=1e-6)
    np.testing.assert_allclose(total(7 * features), total(features), atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: total(x).sum()))(features)
    assert np.isfinite(gradient).all() and (gradient[3] == 0).all()
    np.testing.assert_allclose(gradient[2], [0, -1], atol=1e-6)


def test_each_step_moves_its_own_half() -> None:
    """The network's loss leaves prototypes alone; theirs leaves the network alone."""
    features, weight, prototypes, labels, modalities = example()

    @jax.jit
    def gradients(features, weight, prototypes):
        def network(features, weight, prototypes) -> jax.Array:
            given = (features, weight, prototypes, labels, modalities)
            return losses.spectral_aware_loss(*given).mean()

        def theirs(features: jax.Array, prototypes: jax.Array) -> jax.Array:
            given = (features, prototypes, labels, modalities)
            return losses.prototype_loss(*given).mean()

        return (
            jax.grad(network, (0, 1, 2))(features, weight, prototypes),
            jax.grad(theirs, (0, 1))(features, prototypes),
        )

    network, theirs = gradients(features, weight, prototypes)
    assert (network[0] != 0).all() and (network[1] != 0).all()
    assert (network[2] == 0).all() and (theirs[0] == 0).all()
    stepped = losses.prototype_step(
        features, prototypes, labels, modalities, learning_rate=0.5
    )
    np.testing.assert_allclose(stepped, prototypes - 0.5 * theirs[1], rtol=1e-5)
    before, after = (
        losses.prototype_loss(features, x, labels, modalities).mean()
        for x in (prototypes, stepped)
    )
    assert after < before


def test_the_weights_of_the_total() -> None:
    features, weight, prototypes, labels, modalities = example()
    given = (features, prototypes, labels, modalities)
    expected = (
        0.3 * losses.identity_loss(features, weight, labels)
        + 0.7 * losses.other_modality_loss(*given)
        + losses.absolute_similarity(*given)
    )
    found = losses.spectral_aware_loss(features, weight, *given[1:])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_out_of_range_is_nan_and_what_does_not_fit_is_refused() -> None:
    features, weight, prototypes, _, _ = example()
    labels, modalities = jnp.array([0, 3, 1, -1]), jnp.array([0, 0, 2, 1])
    given = (features[:4], prototypes, labels, modalities)
    for loss in (
        losses.other_modality_loss,
        losses.own_modality_loss,
        losses.absolute_similarity,
    ):
        assert np.isnan(loss(*given)).tolist() == [False, True, True, True]
    with pytest.raises(UserError, match="3 identities need 6 prototypes, got 5"):
        losses.spectral_aware_loss(
            features[:4], weight, prototypes[:5], labels, modalities
        )
    with pytest.raises(UserError, match="two prototypes for each identity, got 5"):
        losses.prototype_loss(features[:4], prototypes[:5], labels, modalities)
