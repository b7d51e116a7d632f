"""Checkpoints keep what they are given, and never hide that they could not."""

import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_jax.errors import UserError
from softmax_jax.training import program as programs
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.loop import load_model
from softmax_jax.training.program import read_checkpoint
from softmax_jax.training.state import to_named

HARMS = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: size(file) // 2]),
    "deleted": lambda file: file.unlink(),
    "flipped": lambda file: flip(file, size(file) // 2),
}


def size(file):
    return file.stat().st_size


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def arrays_of(step):
    kernel = np.random.default_rng(step).standard_normal((64, 64), np.float32)
    return {"a.kernel": jnp.asarray(kernel), "step": jnp.asarray(step, jnp.int32)}


def save(folder, *steps, keep=2):
    with Checkpoints(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, arrays_of(step), {"x": [0.1, step]})


def restored_step(folder):
    """The step that is restored, after a look at every bit of it."""
    with Checkpoints(folder) as checkpoints:
        arrays, host = checkpoints.restore(arrays_of(0))
    step = int(arrays["step"])
    assert host == {"x": [0.1, step]}
    np.testing.assert_array_equal(arrays["a.kernel"], arrays_of(step)["a.kernel"])
    return step


def files_of(folder, step):
    files = sorted(path for path in (folder / str(step)).rglob("*") if path.is_file())
    return [path.relative_to(folder) for path in files]


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_steps")
    save(folder, 3, 6)
    return folder


def test_the_newest_are_kept_with_their_json(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest is None
    save(tmp_path, 3, 6, 7)
    assert {path.name for path in tmp_path.iterdir()} == {"6", "7"}
    with Checkpoints(tmp_path) as checkpoints:
        arrays, host = checkpoints.read()
    assert host == {"x": [0.1, 7]}
    np.testing.assert_array_equal(arrays["a.kernel"], arrays_of(7)["a.kernel"])


def test_what_was_saved_may_be_donated_and_changed(tmp_path):
    overwrite = jax.jit(lambda x: x * 0, donate_argnums=0)
    array, host = jnp.ones((1024, 1024)), {"window": [1, 2]}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"array": array}, host)
        host["window"].append(3)
        for _ in range(5):
            array = overwrite(array)
        checkpoints.wait()
        arrays, host = checkpoints.read()
    assert arrays["array"].min() == 1 and host == {"window": [1, 2]}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_to_any_file_is_seen_or_does_no_harm(two_steps, tmp_path, capfd, harm):
    used = {}
    for number, name in enumerate(files_of(two_steps, 6)):
        folder = shutil.copytree(two_steps, tmp_path / str(number))
        HARMS[harm](folder / name)
        used[name] = restored_step(folder)
        sentence = f"{folder}: checkpoint 6 "
        told = [x for x in capfd.readouterr().err.splitlines() if sentence in x]
        assert len(told) == (used[name] == 3)
        assert all(x.endswith("; checkpoint 3 is used instead.") for x in told)
    seen = {str(name) for name, step in used.items() if step == 3}
    assert seen >= {"6/host/data.json", "6/manifest/data.json", "6/state/_METADATA"}
    assert any(name.startswith("6/state/d/") for name in seen)


def test_any_flipped_byte_of_an_array_is_seen(two_steps, tmp_path, capfd):
    name = max(files_of(two_steps, 6), key=lambda name: size(two_steps / name))
    assert size(two_steps / name) > 10_000
    told = ""
    for number, part in enumerate(np.linspace(0.1, 0.9, 12)):
        folder = shutil.copytree(two_steps, tmp_path / str(number))
        flip(folder / name, int(part * size(folder / name)))
        assert restored_step(folder) == 3
        told += capfd.readouterr().err
    assert "checkpoint 6 has a wrong checksum in a.kernel; checkpoint 3 is used" in told


@pytest.mark.parametrize("part", ["state", "host", "manifest"])
def test_a_checkpoint_without_a_part_is_passed_over(two_steps, tmp_path, part):
    folder = shutil.copytree(two_steps, tmp_path / "copy")
    shutil.rmtree(folder / "6" / part)
    assert restored_step(folder) == 3


def test_a_damaged_checkpoint_is_kept_aside_and_saved_again(two_steps, tmp_path):
    folder = shutil.copytree(two_steps, tmp_path / "copy")
    for names in ({"3", "6.damaged"}, {"3", "6.damaged", "6.damaged.2"}):
        (folder / "6" / "host" / "data.json").unlink()
        with Checkpoints(folder) as checkpoints:
            checkpoints.restore(arrays_of(0))
            assert checkpoints.latest == 3
            assert {path.name for path in folder.iterdir()} == names
            checkpoints.save(6, arrays_of(6), {"x": [0.1, 6]})
        assert restored_step(folder) == 6
    save(folder, 9)
    assert restored_step(folder) == 9
    assert {path.name for path in folder.iterdir()} == names - {"3"} | {"6", "9"}


def test_reading_passes_over_damage_and_changes_nothing(two_steps, tmp_path, capfd):
    folder = shutil.copytree(two_steps, tmp_path / "copy")
    (folder / "6" / "host" / "data.json").unlink()
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.read()[1] == {"x": [0.1, 3]}
    assert {path.name for path in folder.iterdir()} == {"3", "6"}
    assert "checkpoint 3 is used instead." in capfd.readouterr().err


def test_no_intact_checkpoint_is_told_and_nothing_renamed(two_steps, tmp_path):
    folder = shutil.copytree(two_steps, tmp_path / "copy")
    for step in "36":
        (folder / step / "host" / "data.json").write_text('{"x": [0.1, 5]}')
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(UserError, match="checkpoint 6 has .*; checkpoint 3 has "):
            checkpoints.restore(arrays_of(0))
    assert {path.name for path in folder.iterdir()} == {"3", "6"}


class Failed:
    def result(self):
        raise OSError("disk full")


NOTICES = ["raise_if_failed", "save", "wait", "leave"]


@pytest.mark.parametrize("notice", NOTICES)
def test_a_save_that_fails_in_the_background_is_told(tmp_path, monkeypatch, notice):
    message = f"Checkpoint 1 could not be written to {tmp_path} .OSError: disk full"
    with pytest.raises(UserError, match=message):
        with Checkpoints(tmp_path) as checkpoints:
            inner = checkpoints._checkpointer
            monkeypatch.setattr(
                type(inner), "save_checkpointables_async", lambda *_: Failed()
            )
            checkpoints.save(1, {}, {})
            if notice == "raise_if_failed":
                checkpoints.raise_if_failed()
            if notice == "save":
                checkpoints.save(2, {}, {})
            if notice == "wait":
                checkpoints.wait()
            assert notice == "leave"


def test_a_folder_that_is_lost_is_told(tmp_path):
    folder = tmp_path / "checkpoints"
    with pytest.raises(UserError, match="Checkpoint 6 could not be written to"):
        with Checkpoints(folder) as checkpoints:
            shutil.rmtree(folder)
            folder.write_text("")
            checkpoints.save(6, arrays_of(6), {})


def test_a_checkpoint_of_one_mesh_is_restored_onto_another(config, tmp_path):
    before = to_named(programs.build(config(data=8)).shardings)
    program = programs.build(config(data=2, fsdp=2, tensor=2))
    after, shapes = to_named(program.shardings), to_named(program.shapes)
    ends = ("params.embed.embedding", "attention.query.kernel", "normalizer.scale")
    forms = {name: x for name, x in shapes.items() if name.endswith((*ends, "step"))}
    rng = np.random.default_rng(0)
    saved = {
        name: jax.device_put((8 * rng.random(x.shape)).astype(x.dtype), before[name])
        for name, x in forms.items()
    }
    like = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=after[name])
        for name, x in forms.items()
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved, {})
        checkpoints.wait()
        restored, _ = checkpoints.restore(like)
    assert {len(x.sharding.device_set) for x in saved.values()} == {8}
    assert "tensor" in after["params.embed.embedding"].spec
    for name, found in restored.items():
        assert found.sharding == after[name]
        np.testing.assert_array_equal(found, saved[name], err_msg=name)


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError, match="it has no config.json"):
        load_model(tmp_path)


PROCESS = """
import json, pathlib, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import numpy as np
from jax.experimental.multihost_utils import sync_global_devices
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.manifest import checksums

folder = pathlib.Path(sys.argv[3])
mesh = jax.make_mesh((4, 2), ("a", "b"), (AxisType.Auto,) * 2)
where = NamedSharding(mesh, P("a", "b"))

def host(step):
    return np.random.default_rng(step).standard_normal((64, 64), np.float32)

def sharded(step):
    return jax.make_array_from_callback((64, 64), where, host(step).__getitem__)

with Checkpoints(folder) as checkpoints:
    checkpoints.save(3, {"w": sharded(3)}, {"x": 3})
    checkpoints.save(6, {"w": sharded(6)}, {"x": 6})
if jax.process_index() == 0:
    file = max((folder / "6").rglob("*/d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
sync_global_devices("flipped")
with Checkpoints(folder) as checkpoints:
    like = jax.ShapeDtypeStruct((64, 64), np.float32, sharding=where)
    arrays, values = checkpoints.restore({"w": like})
    assert checksums(arrays) == checksums({"w": host(3)}) and values == {"x": 3}
    checkpoints.save(6, {"w": sharded(6)}, {"x": 6})
    checkpoints.wait()
    arrays, values = checkpoints.read()
    np.testing.assert_array_equal(arrays["w"], host(6))
print("intact", flush=True)
jax.distributed.shutdown()
"""


@pytest.mark.slow
def test_two_processes_find_damage_together(tmp_path):
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    folder = tmp_path / "checkpoints"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(index), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        printed = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(out.endswith("intact\n") for out, _ in printed), printed
    told = [
        err.count("6 has a wrong checksum in w; checkpoint 3") for _, err in printed
    ]
    assert told == [1, 0]
    assert {path.name for path in folder.iterdir()} == {"3", "6", "6.damaged"}
