"""Runs: interrupted ones end where unbroken ones do, and bad ones say so."""

import dataclasses
import os
import signal
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from tensorboardX.proto.event_pb2 import Event

from softmax_jax.errors import UserError
from softmax_jax.training import TrainingDiverged, fit, load_model, run_folder
from softmax_jax.training import program as programs
from softmax_jax.training import run as runs
from softmax_jax.training.metrics import MetricsWriter, read_metrics
from softmax_jax.training.progress import _Lines, progress_bar
from softmax_jax.training.state import to_named


class Crash(Exception):
    pass


def crash():
    raise Crash


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def during_step(monkeypatch, step, action):
    """Does `action` once, while the given step is taken."""
    advance = runs.Run.advance

    def disturbed(self, *arguments):
        if self.step + 1 == step:
            monkeypatch.setattr(runs.Run, "advance", advance)
            action()
        advance(self, *arguments)

    monkeypatch.setattr(runs.Run, "advance", disturbed)


def learned_lines(folder):
    lines = read_metrics(folder)
    return [{k: v for k, v in x.items() if k != "tokens_per_second"} for x in lines]


def event_steps(folder):
    """The steps of the scalars in TensorBoard's files, which are whole."""
    steps = set()
    for path in (folder / "tensorboard").iterdir():
        content, start = path.read_bytes(), 0
        while start < len(content):
            (size,) = struct.unpack_from("<Q", content, start)
            event = Event.FromString(content[start + 12 : start + 12 + size])
            steps |= {event.step} if event.summary.value else set()
            start += 12 + size + 4
    return steps


def assert_same_run(result, expected):
    """Parameters, moments, step, position in the data and metrics agree bit for bit."""
    (arrays, host), (others, other) = (
        programs.read_checkpoint(run.folder) for run in (result, expected)
    )
    assert arrays.keys() == others.keys() and "opt_state.1.count" in arrays
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert host["batches"] == other["batches"]
    assert learned_lines(result.folder) == learned_lines(expected.folder)


def test_a_run_learns_and_leaves_its_folder(unbroken):
    assert unbroken.completed
    assert unbroken.metrics["steps"] == 10
    assert unbroken.metrics["validation_loss"] < 5.3 < np.log(256)
    bits = unbroken.metrics["validation_loss"] / np.log(2)
    np.testing.assert_allclose(unbroken.metrics["validation_bits"], bits)
    names = {path.name for path in unbroken.folder.iterdir()}
    assert names >= {"config.json", "environment.json", "metrics.jsonl", "tensorboard"}
    steps = [line["step"] for line in read_metrics(unbroken.folder)]
    assert steps == [4, 5, 8, 10, 10]
    checkpoints = {path.name for path in (unbroken.folder / "checkpoints").iterdir()}
    assert checkpoints == {"9", "10"}


def test_sigterm_saves_and_the_resumed_run_ends_the_same(
    config, unbroken, tmp_path, monkeypatch
):
    before = signal.getsignal(signal.SIGTERM)
    during_step(monkeypatch, 7, terminate)
    stopped = fit(config(), tmp_path)
    assert not stopped.completed and stopped.metrics["steps"] == 7
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = fit(config(), tmp_path)
    assert resumed.completed
    assert_same_run(resumed, unbroken)


@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_crashed_run_ends_the_same(config, unbroken, tmp_path, monkeypatch, step):
    during_step(monkeypatch, step, crash)
    with pytest.raises(Crash):
        fit(config(), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "trai')
    assert_same_run(fit(config(), tmp_path), unbroken)


def test_a_finished_run_returns_at_once(config, unbroken, monkeypatch):
    monkeypatch.setattr(runs.Run, "advance", lambda *_: crash())
    again = fit(config(), unbroken.folder)
    assert again.completed and again.metrics == unbroken.metrics
    models = (again.model, load_model(unbroken.folder))
    for leaves in zip(*map(jax.tree.leaves, (unbroken.model, *models)), strict=True):
        values = jax.device_get(leaves)
        np.testing.assert_array_equal(values[0], values[1])
        np.testing.assert_array_equal(values[0], values[2])


@pytest.mark.parametrize("quantity", ["loss", "gradient_norm"])
def test_a_value_that_is_not_finite_stops_the_run_at_its_step(
    config, unbroken, tmp_path, monkeypatch, quantity
):
    program = programs.build(config())

    def poisoned(state, tokens):
        step = int(state.step) + 1
        state, values = program.train_step(state, tokens)
        return state, values | ({quantity: jnp.full((), jnp.nan)} if step == 6 else {})

    bad = dataclasses.replace(program, train_step=poisoned)
    monkeypatch.setattr(programs, "build", lambda config: bad)
    name = quantity.replace("_", " ")
    with pytest.raises(TrainingDiverged, match=f"the {name} of step 6 is nan"):
        fit(config(), tmp_path)
    assert learned_lines(tmp_path) == learned_lines(unbroken.folder)[:2]
    assert event_steps(tmp_path) == {4, 5}
    _, host = programs.read_checkpoint(tmp_path)
    assert host["batches"] == {"next_index": 3}


class Failed:
    def result(self):
        raise OSError("disk full")


def test_a_save_that_fails_ends_the_run_at_the_next_step(config, tmp_path, monkeypatch):
    inner = ocp.training.Checkpointer
    monkeypatch.setattr(inner, "save_checkpointables_async", lambda *_: Failed())
    went_on = []
    during_step(monkeypatch, 5, lambda: went_on.append(5))
    with pytest.raises(UserError, match="Checkpoint 3 could not be .* disk full"):
        fit(config(), tmp_path)
    assert not went_on


def test_a_damaged_last_checkpoint_costs_one_interval(
    config, unbroken, tmp_path, monkeypatch, capfd
):
    during_step(monkeypatch, 7, terminate)
    fit(config(), tmp_path)
    manifest = tmp_path / "checkpoints" / "7" / "manifest" / "data.json"
    manifest.write_text(manifest.read_text().replace('"checksum": "', '"checksum": "0'))
    assert_same_run(fit(config(), tmp_path), unbroken)
    told = capfd.readouterr().err
    assert told.count("checkpoint 7 has a wrong checksum in ") == 1
    assert told.count("checkpoint 6 is used instead.") == 1


def test_only_the_first_process_writes(config, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run_folder.open_run(tmp_path, config())
    run_folder.note_environment(tmp_path, 0)
    with MetricsWriter(tmp_path) as writer, progress_bar(2, "run") as progress:
        writer.write(1, {"loss": 1.0})
        progress.update()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_another_configuration_in_the_same_folder_is_refused(config, unbroken):
    with pytest.raises(UserError, match="training.seed=0, not 5"):
        fit(config(seed=5), unbroken.folder)


@pytest.fixture(scope="module")
def early(config, tmp_path_factory):
    """A run that was stopped half way on purpose."""
    return fit(config(stop_step=5), tmp_path_factory.mktemp("early"))


def test_stop_step_ends_early_on_the_same_path(early, unbroken):
    assert early.completed and early.metrics["steps"] == 5
    line = next(x for x in read_metrics(unbroken.folder) if "validation_loss" in x)
    assert early.metrics["validation_loss"] == line["validation_loss"]


def test_start_from_carries_over_all_but_the_normalizer(config, early, tmp_path):
    begun = config(start_from=str(early.folder))
    program = programs.build(begun)
    with jax.set_mesh(program.mesh):
        state, host = programs.carried_over(program, early.folder)
    arrays, saved = programs.read_checkpoint(early.folder)
    for name, array in to_named(state).items():
        is_own = "attention.normalizer." in name
        assert np.array_equal(array, arrays[name]) is not is_own, name
    assert host["batches"] == saved["batches"] == {"next_index": 5}
    assert fit(begun, tmp_path).metrics["steps"] == 10


def test_plain_lines_show_columns_and_the_time_left(capsys):
    lines = _Lines(100, "run", 0)
    lines._start -= 10
    lines.update(50, loss="1.25")
    assert capsys.readouterr().out == ""
    lines.show()
    assert capsys.readouterr().out == "run 50/100  loss 1.25  0:10 left\n"
