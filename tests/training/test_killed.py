"""A process killed at any moment costs time, and not a bit of the result."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from softmax_jax.training import to_mapping
from softmax_jax.training.metrics import read_metrics
from softmax_jax.training.program import read_checkpoint

SCRIPT = """
import json, sys, pathlib
from softmax_jax.training import RunConfig, fit, from_mapping
fit(from_mapping(RunConfig, json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def start(config, folder):
    command = [sys.executable, "-c", SCRIPT, json.dumps(to_mapping(config)), folder]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_run_killed_twice_ends_bitwise_the_same(config, tmp_path):
    settings = config(steps=300, checkpoint_every=20, eval_every=100)
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert start(settings, unbroken).wait(timeout=120) == 0
    for step in (40, 140):
        process = start(settings, killed)
        while not any(line["step"] >= step for line in read_metrics(killed)):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -9
    assert start(settings, killed).wait(timeout=120) == 0
    (arrays, host), (others, other) = read_checkpoint(killed), read_checkpoint(unbroken)
    for name in others:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert host["batches"] == other["batches"]
    steps = [line["step"] for line in read_metrics(killed)]
    assert steps == [line["step"] for line in read_metrics(unbroken)]
