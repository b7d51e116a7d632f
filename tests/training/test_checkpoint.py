"""Checkpoints keep what they are given, and never hide that they could not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.loop import load_model
from softmax_jax.training.program import read_checkpoint


def test_the_newest_are_kept_with_their_json(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest is None
        for step in (3, 6, 7):
            checkpoints.save(step, {"a.b": jnp.full(3, step)}, {"x": [0.1, step]})
    assert {path.name for path in tmp_path.iterdir()} == {"6", "7"}
    with Checkpoints(tmp_path) as checkpoints:
        arrays, host = checkpoints.read()
    assert host == {"x": [0.1, 7]}
    np.testing.assert_array_equal(arrays["a.b"], [7, 7, 7])


def test_what_was_saved_may_be_donated(tmp_path):
    overwrite = jax.jit(lambda x: x * 0, donate_argnums=0)
    array = jnp.ones((1024, 1024))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"array": array}, {"x": 1})
        for _ in range(5):
            array = overwrite(array)
        checkpoints.wait()
        assert checkpoints.read()[0]["array"].min() == 1


class Failed:
    def result(self):
        raise OSError("disk full")


@pytest.mark.parametrize("notice", ["save", "wait", "leave"])
def test_a_save_that_fails_in_the_background_is_told(tmp_path, monkeypatch, notice):
    with pytest.raises(OSError, match="disk full"):
        with Checkpoints(tmp_path) as checkpoints:
            inner = checkpoints._checkpointer
            monkeypatch.setattr(
                type(inner), "save_checkpointables_async", lambda *_: Failed()
            )
            checkpoints.save(1, {}, {})
            if notice == "save":
                checkpoints.save(2, {}, {})
            if notice == "wait":
                checkpoints.wait()


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError, match="it has no config.json"):
        load_model(tmp_path)
