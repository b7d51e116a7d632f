"""Classes branch like a tree, and clouds lie around their centres."""

import jax
import jax.numpy as jnp
import numpy as np

from softmax_jax.data import classes


def test_siblings_are_nearer_than_cousins() -> None:
    key = jax.random.key(0)
    found = classes.centres(key, (2, 3, 4), (5.0, 1.0, 0.1), 16)
    assert found.shape == (24, 16)
    tree = found.reshape(2, 3, 4, 16)
    siblings = jnp.linalg.norm(tree[:, :, 0] - tree[:, :, 1], axis=-1)
    cousins = jnp.linalg.norm(tree[:, 0] - tree[:, 1], axis=-1)
    strangers = jnp.linalg.norm(tree[0] - tree[1], axis=-1)
    assert siblings.max() < cousins.min() < cousins.max() < strangers.min()


def test_every_class_has_its_points_around_its_centre() -> None:
    centres = jnp.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    rows = classes.clouds(jax.random.key(0), centres, 400, 2.0)
    np.testing.assert_array_equal(jnp.bincount(rows.labels), [400, 400, 400])
    around = rows.features - centres[rows.labels]
    np.testing.assert_allclose(around.std(0), 2.0, rtol=0.1)
    np.testing.assert_allclose(around.mean(0), 0.0, atol=0.25)
