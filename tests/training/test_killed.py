"""A process killed while it saves costs one interval, and no bit of the result."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from softmax_jax.training import to_mapping
from softmax_jax.training.metrics import read_metrics
from softmax_jax.training.program import read_checkpoint

EVERY, KILLS = 5, 20

# Imports once; each line on stdin starts the run in a process of its own, whose number
# and exit status are printed.
SCRIPT = """
import json, os, pathlib, sys
from softmax_jax.training import RunConfig, fit, from_mapping
config = from_mapping(RunConfig, json.loads(sys.argv[1]))
for folder in sys.stdin:
    child = os.fork()
    if child == 0:
        os.close(0)
        os._exit(0 if fit(config, pathlib.Path(folder.strip())).completed else 3)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runs:
    """Starts, kills and waits for runs of one configuration."""

    def __init__(self, config, cache):
        command = [sys.executable, "-c", SCRIPT, json.dumps(to_mapping(config))]
        quick = {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        quick |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | quick,
        )

    def start(self, folder):
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        return self.read()

    def read(self):
        """The next number that is printed, among the lines of progress."""
        while (
            not (line := self.process.stdout.readline()).strip().lstrip("-").isdigit()
        ):
            assert line, "the process that starts runs has ended"
        return int(line)


@pytest.fixture
def runs(config, tmp_path):
    settings = config(steps=600, checkpoint_every=EVERY, eval_every=200)
    runs = Runs(settings, tmp_path / "cache")
    yield runs
    runs.process.kill()


def steps_in(folder):
    """Complete steps, and the one that is being saved."""
    names = os.listdir(folder) if folder.exists() else []
    complete = {int(name) for name in names if name.isdigit()}
    begun = {int(name.split(".")[0]) for name in names if "tmp" in name}
    return complete, begun - complete


def wait_for_a_save(folder, after):
    """Returns the first step above `after` that is seen while it is saved."""
    while True:
        complete, begun = steps_in(folder)
        if (saving := max(begun, default=0)) > after:
            return saving
        time.sleep(0.001)


def wait_until_saved(folder, step):
    while step not in steps_in(folder)[0]:
        time.sleep(0.001)


@pytest.mark.slow
def test_kills_around_saves_cost_an_interval_and_not_a_bit(runs, tmp_path, capfd):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    runs.start(unbroken)
    assert runs.read() == 0
    rng, restored, lost = random.Random(0), 0, []
    for kill in range(KILLS):
        child = runs.start(killed)
        after = restored + EVERY * rng.randint(0, 2)
        saving = wait_for_a_save(killed / "checkpoints", after)
        if kill % 4 == 3:  # however long a save takes here
            wait_until_saved(killed / "checkpoints", saving)
        time.sleep(0.15 * rng.random() ** 3)  # a save takes 10 to 100 ms
        os.kill(child, signal.SIGKILL)
        assert runs.read() == -signal.SIGKILL
        arrays, _ = read_checkpoint(killed)
        restored = int(arrays["step"])
        lost.append(saving - restored)
        assert saving - EVERY <= restored < 600
    assert EVERY in lost and min(lost) <= 0  # some came too early and some too late
    assert "is used instead" not in capfd.readouterr().err
    runs.start(killed)
    assert runs.read() == 0
    (arrays, host), (others, other) = read_checkpoint(killed), read_checkpoint(unbroken)
    for name in others:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert host["batches"] == other["batches"]
    steps = [line["step"] for line in read_metrics(killed)]
    assert steps == [line["step"] for line in read_metrics(unbroken)]
