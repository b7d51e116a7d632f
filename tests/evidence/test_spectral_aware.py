"""Each step trains its own half, batches are what they are called, scores by hand."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data import two_modalities
from softmax_jax.data.two_modalities import Parts, Sightings
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies import spectral_aware
from softmax_jax.evidence.studies.spectral_aware import Network, SpectralAwareConfig
from softmax_jax.optim import OptimizerConfig

TINY = SpectralAwareConfig(
    hidden=16,
    width=8,
    people=4,
    shots=2,
    steps=100,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup=10, weight_decay=0.0),
)


def seen(identities: int = 6) -> Parts:
    rng = np.random.default_rng(0)
    return two_modalities.synthetic(rng, identities=identities, unseen=6, noise=0.1)


@pytest.mark.slow
def test_training_beats_chance_and_judging_is_repeatable(tmp_path: Path) -> None:
    found = [
        spectral_aware.run(
            dataclasses.replace(TINY, steps=200), 0, tmp_path, ""
        ).metrics
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0]["map"] > 0.08 and 0 < found[0]["gap"] < 1.5
    assert found[0]["rank-1"] <= found[0]["rank-10"]


def test_batches_hold_each_identity_in_both_modalities() -> None:
    train = seen().train
    rows = spectral_aware.batches(np.random.default_rng(0), train, 5, 4, 3)
    assert rows.shape == (5, 4 * 2 * 3)
    for batch in rows.reshape(5, 4, 2, 3):
        people = train.identities[batch]
        assert len(np.unique(people)) == 4 and (people == people[:, :1, :1]).all()
        assert (train.modalities[batch] == np.array([0, 1])[:, None]).all()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_network_moves_prototypes_only_if_synchronous(asynchronous: bool) -> None:
    config = dataclasses.replace(TINY, asynchronous=asynchronous)
    draw = np.random.default_rng(0).normal
    features, classifier, prototypes = (
        jnp.asarray(draw(size=(n, 8)), jnp.float32) for n in (5, 6, 12)
    )
    numbers = jnp.arange(5)
    batch = Sightings(features, numbers, numbers % 2, numbers % 2)

    @jax.jit
    def gradients(features: jax.Array, prototypes: jax.Array) -> tuple[jax.Array, ...]:
        def objective(features: jax.Array, prototypes: jax.Array) -> jax.Array:
            given = (features, classifier, prototypes, batch)
            return spectral_aware._objective(config, *given)

        return jax.grad(objective, (0, 1))(features, prototypes)

    to_features, to_prototypes = gradients(features, prototypes)
    assert (to_features != 0).all()
    assert (to_prototypes != 0).any() == (not asynchronous)


@pytest.mark.slow
def test_a_step_moves_network_prototypes_and_running_means() -> None:
    train = seen().train
    model = Network(TINY, 40, 6, rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.state(model))
    spectral_aware.train(TINY, model, train, 0, "")
    after = jax.tree.map(np.array, nnx.state(model))
    same = jax.tree.map(lambda x, y: bool((x == y).all()), before, after)
    assert not any(jax.tree.leaves(same))


def test_scores_by_hand() -> None:
    """A model whose features are what it is shown."""

    class Shows(nnx.Module):
        def __call__(self, seen: Sightings, *, train: bool) -> jax.Array:
            return jnp.asarray(seen.features)

    def sightings(features: list, identities: list, camera: int) -> Sightings:
        cameras = np.full(len(identities), camera, np.int32)
        shown = np.array(features, np.float32)
        return Sightings(shown, np.array(identities), np.zeros_like(cameras), cameras)

    query = sightings([[2.0, 0.0], [0.0, 3.0]], [0, 1], 3)
    gallery = sightings([[1.0, 0.0], [1.0, 1.0]], [0, 1], 1)
    train = sightings([[0.0, 0.0]], [0], 1)
    found = spectral_aware.judge(Shows(), Parts(train, query, gallery))
    assert found["map"] == found["rank-1"] == 1.0
    # Centres: own at 0 and |(0, 1) - (1, 1) / sqrt 2|, others at sqrt 2 and the same.
    side = np.sqrt(2 - np.sqrt(2))
    assert found["gap"] == pytest.approx(side / (side + np.sqrt(2)), rel=1e-5)
    skipping = Parts(train, query, gallery, skipped=((3, 1),))
    assert np.isnan(spectral_aware.judge(Shows(), skipping)["map"])


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="loss='sa' is unknown"):
        SpectralAwareConfig(loss="sa")
    with pytest.raises(UserError, match="trains its prototypes synchronously"):
        SpectralAwareConfig(loss="own_modality")
