"""Two processes with four devices each are one run: launched as Slurm would."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from softmax_jax.training.metrics import read_metrics
from softmax_jax.training.program import read_checkpoint

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = {
    "model.layers": 1,
    "model.width": 32,
    "optimizer.warmup": 2,
    "training.steps": 200,
    "training.log_every": 20,
    "training.eval_every": 100,
    "training.eval_batches": 2,
    "training.checkpoint_every": 50,
    "mesh.fsdp": 2,
}
LM = TINY | {"training.sequence_length": 32}
MAIN = "import sys; from softmax_jax.cli import main; sys.exit(main(sys.argv[1:]))"


def launch(folder, processes, recipe="lm", tiny=LM):
    """The processes of one job, each of which owns its share of eight devices."""
    job = str(random.randrange(4096))
    command = [sys.executable, "-c", MAIN, "train", f"{CONFIGS / recipe}.py:quick"]
    command += ["--folder", str(folder), *["--distributed"] * (processes > 1)]
    command += [f"--config.{name}={value}" for name, value in tiny.items()]
    devices = f"--xla_force_host_platform_device_count={8 // processes}"
    return [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": devices,
                "SLURM_JOB_ID": job,
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": str(processes),
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
            },
        )
        for rank in range(processes)
    ]


def finish(running):
    """Exit codes and what was printed, by process."""
    try:
        printed = [process.communicate(timeout=600)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], printed


def losses(folder):
    return {
        (row["step"], name): row[name]
        for row in read_metrics(folder / "lm-quick")
        for name in row
        if name.endswith("_loss")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    codes, printed = finish(launch(folder, 2))
    assert codes == [0, 0], printed
    return folder


def test_two_processes_have_the_losses_of_one(whole, tmp_path):
    codes, printed = finish(launch(tmp_path, 1))
    assert codes == [0], printed
    one, two = losses(tmp_path), losses(whole)
    assert one.keys() == two.keys() and len(one) >= 8
    np.testing.assert_allclose([*two.values()], [*one.values()], rtol=1e-6)


def test_sigterm_of_one_process_stops_both_and_the_run_ends_the_same(whole, tmp_path):
    running = launch(tmp_path, 2)
    metrics = tmp_path / "lm-quick" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert running[0].poll() is None, running[0].communicate()
        time.sleep(0.02)
    running[1].send_signal(signal.SIGTERM)
    codes, printed = finish(running)
    assert codes == [130, 130], printed
    _, host = read_checkpoint(tmp_path / "lm-quick")
    codes, printed = finish(launch(tmp_path, 2))
    assert codes == [0, 0], printed
    ended, undisturbed = (
        read_checkpoint(folder / "lm-quick") for folder in (tmp_path, whole)
    )
    assert host["batches"] != ended[1]["batches"] == undisturbed[1]["batches"]
    assert ended[0].keys() == undisturbed[0].keys()
    for name, array in ended[0].items():
        np.testing.assert_array_equal(array, undisturbed[0][name], err_msg=name)


def test_what_is_judged_in_two_processes_is_judged_as_in_one(tmp_path):
    tiny = TINY | {"training.steps": 20, "model.heads": 2, "model.normalizer": "ssmax"}
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        codes, printed = finish(launch(folder, processes, "vit", tiny))
        assert codes == [0] * processes, printed
        found.append(read_metrics(folder / "vit-quick")[-1])
    one, two = found
    assert one["step"] == two["step"] == 20
    assert one["test_accuracy"] == pytest.approx(two["test_accuracy"], abs=1e-6)
    assert one["test_loss"] == pytest.approx(two["test_loss"], rel=1e-5)


def test_without_a_job_there_is_one_sentence(tmp_path):
    (alone,) = launch(tmp_path, 1)
    alone.kill()
    environment = {k: v for k, v in os.environ.items() if "SLURM" not in k}
    command = [*alone.args, "--distributed"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 2
    assert "--distributed: JAX could not join" in found.stderr
