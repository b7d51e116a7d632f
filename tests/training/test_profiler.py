"""The trace holds the steps of the window, and is there when the window ends."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from softmax_jax.errors import UserError
from softmax_jax.training.profiler import profiler

X = jnp.arange(4.0)


def train(folder, window, steps):
    """Trains by functions whose names tell the step."""
    with profiler(folder, window) as seen:
        for step in steps:
            seen.before(step)
            with jax.profiler.TraceAnnotation(f"step number {step}"):
                values = X * step
            seen.after(step, values)
            yield sorted(folder.rglob("*.xplane.pb"))


def traced(folder):
    """The steps that the trace names."""
    (path,) = folder.rglob("*.trace.json.gz")
    names = {e.get("name", "") for e in json.load(gzip.open(path))["traceEvents"]}
    return {int(name.split()[-1]) for name in names if name.startswith("step number")}


def test_the_window_is_traced(tmp_path):
    files = [len(found) for found in train(tmp_path, (2, 2), range(1, 6))]
    assert files == [0, 0, 1, 1, 1]
    assert traced(tmp_path) == {2, 3}


def test_a_run_that_ends_or_starts_in_the_window_writes_its_part(tmp_path):
    list(train(tmp_path / "end", (2, 9), range(1, 5)))
    assert traced(tmp_path / "end") == {2, 3, 4}
    list(train(tmp_path / "start", (2, 9), range(9, 13)))
    assert traced(tmp_path / "start") == {9, 10}


def test_no_window_no_trace(tmp_path):
    assert not any(train(tmp_path, None, range(1, 3)))
    assert not any(train(tmp_path, (1, 2), range(3, 5)))


@pytest.mark.parametrize("window", [(0, 1), (3, 0)])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    with pytest.raises(UserError, match="training.profile=.* should be the first"):
        list(train(tmp_path, window, range(1)))
