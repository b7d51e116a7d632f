"""Checkpoints of a run: named arrays and a little JSON, written by orbax, checked."""

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from softmax_jax.errors import UserError
from softmax_jax.training import manifest as manifests
from softmax_jax.training.manifest import Damaged, Manifest

Arrays = dict[str, Any]
Host = dict[str, Any]


class Checkpoints:
    """The newest `keep` checkpoints under a folder, saved while training goes on.

    The manifest is written together with the arrays, into a folder that gets the name
    of its step when all is there: a process killed in between leaves no step at all.
    A checkpoint that is not what was saved is passed over, with a sentence on stderr.
    A failed save raises at the next `raise_if_failed`, `save` or `wait`, or on leaving
    the context.
    """

    def __init__(self, folder: Path, keep: int = 2):
        training: Any = ocp.training  # whose annotations contradict each other
        self._folder = folder.resolve()
        self._checkpointer = training.Checkpointer(
            self._folder,
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=training.preservation_policies.LatestN(keep),
            context=_json_for("host", "manifest"),
        )
        self._pending: tuple[int, Any] | None = None

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; what it holds is not checked."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, arrays: Arrays, host: Host) -> None:
        """Starts to save; returns when the arrays may be donated, the JSON changed."""
        self.wait()
        host = json.loads(json.dumps(host))  # the run goes on to change its own
        parts = {"state": arrays, "host": host}
        parts["manifest"] = manifests.describe(arrays, host)
        try:
            _check_writable(self._folder)
            saving = self._checkpointer.save_checkpointables_async(step, parts)
        except OSError as error:
            raise self._not_saved(step, error) from error
        self._pending = step, saving

    def raise_if_failed(self) -> None:
        """Raises if the save that was under way has failed; never waits."""
        if not self._checkpointer.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the save that is under way."""
        if self._pending is not None:
            (step, saving), self._pending = self._pending, None
            try:
                saving.result()
            except Exception as error:
                raise self._not_saved(step, error) from error

    def restore(self, like: Arrays) -> tuple[Arrays, Host]:
        """The newest arrays that are intact, as `like`, and their JSON.

        `like` gives shapes, dtypes and shardings. Newer checkpoints that are damaged
        are renamed, so that the run can save these steps again.
        """
        step, damaged, arrays, host = self._newest_intact(like)
        if damaged and jax.process_index() == 0:
            for bad in damaged:
                _set_aside(self._folder / str(bad))
        if _anywhere(bool(damaged)):  # which also waits for the process that renames
            self._checkpointer.reload()
        return arrays, host

    def read(self) -> tuple[dict[str, np.ndarray], Host]:
        """The newest intact checkpoint in host memory, whatever mesh it is from."""
        _, _, arrays, host = self._newest_intact(None)
        return arrays, host

    def _newest_intact(
        self, like: Arrays | None
    ) -> tuple[int, list[int], Arrays, Host]:
        """Step, newer steps that are damaged, arrays and JSON."""
        reasons: dict[int, str] = {}
        for checkpoint in reversed(self._checkpointer.checkpoints):
            step = checkpoint.step
            try:
                arrays, host = self._intact(step, like)
            except Damaged as error:
                reasons[step] = f"checkpoint {step} {error}"
                continue
            for reason in reasons.values():
                _tell(f"{self._folder}: {reason}; checkpoint {step} is used instead.")
            return step, list(reasons), arrays, host
        told = "; ".join(reasons.values())
        raise UserError(
            f"{self._folder} holds no intact checkpoint ({told}); choose another "
            "folder, or delete this one."
        )

    def _intact(self, step: int, like: Arrays | None) -> tuple[Arrays, Host]:
        """What checkpoint `step` holds; raises Damaged, in all processes at once."""
        reason = loaded = None
        try:
            loaded = self._load(step, like)
        except Damaged as error:
            reason = str(error)
        except Exception as error:  # orbax and its stores raise a great many kinds
            reason = f"cannot be read ({_first_line(error)})"
        if _anywhere(reason is not None) or loaded is None:
            raise Damaged(reason or "cannot be read by another process")
        arrays, host, manifest = loaded
        manifests.check_arrays(manifest, arrays)
        return arrays, host

    def _load(self, step: int, like: Arrays | None) -> tuple[Arrays, Host, Manifest]:
        parts = {"host": None, "manifest": None}
        found = self._checkpointer.load_checkpointables(step, parts)
        host, manifest = found["host"], found["manifest"]
        if like is None:
            like = manifests.empty_arrays(manifest)
        manifests.check_forms(manifest, like, host)
        state = self._checkpointer.load_checkpointables(step, {"state": like})["state"]
        return state, host, manifest

    def _not_saved(self, step: int, error: Exception) -> UserError:
        return UserError(
            f"Checkpoint {step} could not be written to {self._folder} "
            f"({_first_line(error)}); the run ends, to go on from the one before."
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        finally:
            self._checkpointer.close()


def _json_for(*names: str) -> ocp.Context:
    """Parts of these names are JSON files; orbax would make each number an array."""
    registry, context = ocp.handlers.local_registry(), ocp.Context()
    for name in names:
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context.checkpointables.registry = registry
    return context


def _anywhere(flag: bool) -> bool:
    """Whether the flag is up in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def _check_writable(folder: Path) -> None:
    """Raises at once; where it cannot write, orbax waits five minutes to say so."""
    if jax.process_index() == 0:
        probe = folder / "writable"
        probe.touch()
        probe.unlink()


def _set_aside(path: Path) -> None:
    """Renames rather than deletes: what cannot be read now may be intact all the same.

    The new name is no number, so that it is not taken for a step.
    """
    names = [".damaged", *(f".damaged.{number}" for number in range(2, 100))]
    free = (path.with_name(path.name + name) for name in names)
    path.rename(next(other for other in free if not other.exists()))


def _tell(sentence: str) -> None:
    if jax.process_index() == 0:
        sys.stderr.write(sentence + "\n")


def _first_line(error: BaseException) -> str:
    """The beginning of what an error was raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line[:160]}"
