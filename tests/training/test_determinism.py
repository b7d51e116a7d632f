"""The same run twice is the same bit for bit, traced once, without hidden transfers."""

import collections

import jax
import numpy as np
import pytest

from softmax_jax.training import fit
from softmax_jax.training import program as programs
from softmax_jax.training import run as runs
from softmax_jax.training.metrics import read_metrics

TRACED = "/jax/core/compile/jaxpr_trace_duration"


def assert_same(result, expected):
    """Weights, moments, position in the data and metrics agree bit for bit."""
    arrays, host = programs.read_checkpoint(result.folder)
    others, other = programs.read_checkpoint(expected.folder)
    assert arrays.keys() == others.keys() and host["batches"] == other["batches"]
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    lines = [read_metrics(run.folder) for run in (result, expected)]
    for line, same in zip(*lines, strict=True):
        differing = {name for name in line if line[name] != same[name]}
        assert differing <= {"tokens_per_second"}


def test_the_same_run_twice_is_bitwise_equal(config, unbroken, tmp_path):
    assert_same(fit(config(), tmp_path), unbroken)


def test_the_steps_are_compiled_once(config, unbroken):
    program = programs.build(config())
    assert unbroken.metrics["steps"] == 10
    assert program.train_step._cache_size() == 1
    assert program.eval_step._cache_size() == 1


@pytest.mark.slow
def test_a_run_compiled_anew_is_the_same_traced_once_and_without_hidden_transfers(
    config, unbroken, tmp_path, monkeypatch
):
    traced = collections.Counter()

    def count(event, seconds, *, fun_name="", **_):
        traced[fun_name] += event == TRACED

    advance, put = runs.Run.advance, runs.Feed.put

    def guarded(*arguments):
        with jax.transfer_guard("disallow"):
            advance(*arguments)

    def meant(*arguments):
        with jax.transfer_guard("allow"):
            return put(*arguments)

    monkeypatch.setattr(runs.Run, "advance", guarded)
    monkeypatch.setattr(runs.Feed, "put", meant)
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        result = fit(config(watchdog=60.0), tmp_path)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert_same(result, unbroken)
    assert traced["train_step"] == traced["eval_step"] == 1
    assert max(traced.values()) <= 2  # the initial state: for its shapes, and to run
