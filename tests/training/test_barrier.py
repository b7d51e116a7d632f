"""Processes wait for each other, but not for ever."""

import os
import socket
import subprocess
import sys
import time

import pytest

from softmax_jax.training.barrier import barrier

PROGRAM = """
import os, sys, time
from pathlib import Path
import jax
from softmax_jax.errors import UserError
from softmax_jax.training.barrier import barrier
rank, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.distributed.initialize("localhost:" + port, 2, rank)
if rank == 1:
    time.sleep(1)
    (folder / "came").touch()
barrier("start", 60)
barrier("start", 60)
print("waited", rank, (folder / "came").exists(), flush=True)
if rank == 1:
    try:
        barrier("end", 0.5)
    except UserError as error:
        print(error, flush=True)
    (folder / "left").touch()
while not (folder / "left").exists():
    time.sleep(0.1)
os._exit(0)
"""


def test_one_process_waits_for_nobody():
    start = time.monotonic()
    barrier("alone", 60.0)
    barrier("alone", 60.0)
    assert time.monotonic() - start < 1


@pytest.mark.slow
def test_two_processes_wait_and_one_that_is_alone_gets_one_sentence(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), port, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for rank in range(2)
    ]
    try:
        first, second = (p.communicate(timeout=600)[0] for p in processes)
    finally:
        for process in processes:
            process.kill()
    assert [p.returncode for p in processes] == [0, 0], first + second
    assert "waited 0 True" in first and "waited 1 True" in second
    assert (
        "Barrier 'end': not all of the 2 processes came within 0.5 s; one of them is "
        "lost or far behind." in second
    )
