"""A run that hangs ends itself and shows where; one that is only slow goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from softmax_jax.errors import UserError
from softmax_jax.training import to_mapping
from softmax_jax.training.interrupt import stop_agreed, stop_on_sigterm
from softmax_jax.training.metrics import read_metrics
from softmax_jax.training.program import read_checkpoint
from softmax_jax.training.watchdog import watchdog

HANGING = """
import sys, time
import jax, jax.numpy as jnp
from softmax_jax.training.watchdog import watchdog

def hangs(x):
    time.sleep(100)
    return x

def pause(seconds):
    time.sleep(seconds)

with watchdog(4.0) as dog:
    pause(5)  # before the first step: compiling it may take any time
    for step in range(3):
        dog.dispatched(jnp.ones(()))
    pause(2.5)
    dog.alive()
    pause(2.5)
    dog.alive()
    print("alive", flush=True)
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    step = jax.jit(lambda x: jax.pure_callback(hangs, shape, x))
    dog.dispatched(step(1.0))
    dog.dispatched(jnp.ones(()))
"""


@pytest.mark.slow
def test_a_step_that_hangs_ends_the_process_and_shows_the_stacks():
    ran = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 1 and ran.stdout == "alive\n"
    assert ran.stderr.startswith("Timeout (0:00:04)!")
    assert "in hangs" in ran.stderr


RUN = """
import json, pathlib, sys, time
from softmax_jax.training import RunConfig, fit, from_mapping
from softmax_jax.training import run as runs

def hangs(self, log):
    time.sleep(100)

runs.Run.evaluate = hangs
fit(from_mapping(RunConfig, json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_run_that_hangs_leaves_what_it_had_saved(config, tmp_path):
    settings = json.dumps(to_mapping(config(watchdog=8.0, log_every=1)))
    ran = subprocess.run(
        [sys.executable, "-c", RUN, settings, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 1
    assert "Timeout (0:00:08)!" in ran.stderr and "in hangs" in ran.stderr
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert int(read_checkpoint(tmp_path)[0]["step"]) == 3


def test_outside_its_context_and_without_seconds_nothing_is_watched():
    with watchdog(0.2) as dog:
        dog.alive()
    with watchdog(None) as dog:
        dog.dispatched(None)
        dog.alive()
    time.sleep(0.4)  # the process of this test would have ended


def test_a_time_that_is_not_positive_is_refused():
    with pytest.raises(UserError, match="training.watchdog=0.0 should be above 0"):
        with watchdog(0.0):
            pass


def test_one_process_stops_when_it_is_asked_to():
    with stop_on_sigterm() as stop:
        assert not stop_agreed(stop.requested, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_agreed(stop.requested, 2)


PROCESS = """
import json, sys, time
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from softmax_jax.training import to_mapping
from softmax_jax.training.interrupt import stop_agreed, stop_on_sigterm
with stop_on_sigterm() as stop:
    for step in range(1, 4000):
        if step == 20:
            print("running", flush=True)
        time.sleep(0.005 * (1 + jax.process_index()))
        if stop_agreed(stop.requested, step):
            break
print(json.dumps(step), flush=True)
jax.distributed.shutdown()
"""


@pytest.fixture
def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_of_two_processes_stops_both_at_the_same_step(told, free_port):
    command = [sys.executable, "-c", PROCESS, f"localhost:{free_port}"]
    processes = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "running\n"
        processes[told].send_signal(signal.SIGTERM)
        steps = [json.loads(p.communicate(timeout=600)[0]) for p in processes]
    finally:
        for process in processes:
            process.kill()
    assert steps[0] == steps[1] and 20 < steps[0] < 3999
    assert [process.returncode for process in processes] == [0, 0]
