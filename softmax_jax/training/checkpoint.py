"""Checkpoints of a run: named arrays and a little JSON, written by orbax."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

Arrays = dict[str, Any]


class Checkpoints:
    """The newest `keep` checkpoints under a folder, saved while training goes on.

    A failed save raises at the next `save`, at `wait`, or on leaving the context.
    """

    def __init__(self, folder: Path, keep: int = 2):
        training: Any = ocp.training  # whose annotations contradict each other
        self._checkpointer = training.Checkpointer(
            folder.resolve(),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=training.preservation_policies.LatestN(keep),
        )
        self._pending: Any = None

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, arrays: Arrays, host: dict[str, Any]) -> None:
        """Starts to save; returns when the arrays may be donated."""
        self.wait()
        parts = {"state": arrays, "host": host}
        self._pending = self._checkpointer.save_checkpointables_async(step, parts)

    def wait(self) -> None:
        """Waits for the save that is under way."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def restore(self, like: Arrays) -> tuple[Arrays, dict[str, Any]]:
        """The newest arrays, as `like` (shapes and shardings), and their JSON."""
        parts = {"state": like, "host": None}
        found = self._checkpointer.load_checkpointables(self.latest, parts)
        return found["state"], found["host"]

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The newest checkpoint in host memory, whatever mesh it was saved from."""
        saved = self._checkpointer.checkpointables_metadata(self.latest)
        shapes = saved.metadata["state"]
        return self.restore({n: np.empty(x.shape, x.dtype) for n, x in shapes.items()})

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
