"""The lookup task asks for what it shows."""

import jax
import jax.numpy as jnp
import numpy as np

from softmax_jax.data import lookup

STATIC = ("shortest", "capacity", "vocabulary", "values")
draw = jax.jit(lookup.batch, static_argnums=(1, 2), static_argnames=STATIC)


def test_the_answer_is_the_value_of_the_key_asked_for() -> None:
    drawn = draw(jax.random.key(0), 64, 20, shortest=5, vocabulary=100)
    for row in range(64):
        visible = np.asarray(drawn.visible[row])
        keys, values = (np.asarray(x[row])[visible] for x in (drawn.keys, drawn.values))
        assert 5 <= len(keys) <= 20
        assert len(set(keys)) == len(keys) and keys.max() < 100
        (place,) = np.flatnonzero(keys == drawn.query[row])
        assert place == drawn.needle[row]
        assert values[place] == drawn.answer[row]


def test_every_length_and_every_value_comes_up() -> None:
    drawn = draw(jax.random.key(1), 2000, 6, shortest=3, values=4)
    assert set(np.asarray(drawn.visible.sum(-1))) == {3, 4, 5, 6}
    shares = np.bincount(drawn.answer, minlength=4) / 2000
    np.testing.assert_allclose(shares, 0.25, atol=0.05)  # chance


def test_keys_fill_the_vocabulary_exactly_at_full_length() -> None:
    drawn = draw(jax.random.key(2), 3, 16, vocabulary=16)
    np.testing.assert_array_equal(drawn.keys, np.tile(np.arange(16), (3, 1)))


def test_padding_and_a_traced_length_change_nothing() -> None:
    key = jax.random.key(3)
    padded = jax.jit(lambda n: lookup.batch(key, 8, n, capacity=32))(jnp.int32(7))
    assert padded.keys.shape == (8, 32)
    np.testing.assert_array_equal(padded.visible.sum(-1), 7)
    assert (np.asarray(padded.needle) < 7).all()
    assert not np.asarray(padded.keys)[:, 7:].any()
