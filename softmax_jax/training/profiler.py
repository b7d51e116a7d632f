"""A window of training steps as JAX's profiler sees it, for xprof or Perfetto."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from softmax_jax.errors import UserError


class Profiler:
    """Traces the steps first, ..., first + count - 1 into `folder`; None traces none.

    A run that goes on in the middle of the window traces what is left of it.
    """

    def __init__(self, folder: Path, window: tuple[int, int] | None):
        self._folder, self._window = folder, window
        self._running = False

    def before(self, step: int) -> None:
        """Starts the trace if `step`, counted from 1, comes next in the window."""
        if self._window is None or self._running:
            return
        first, count = self._window
        if first <= step < first + count:
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after(self, step: int, values: Any) -> None:
        """Writes the trace when `values`, which the last step of it returns, exist."""
        if self._running and self._window is not None and step + 1 >= sum(self._window):
            jax.block_until_ready(values)
            self.stop()

    def stop(self) -> None:
        """Writes what was traced, if anything was."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


@contextmanager
def profiler(
    folder: Path, window: tuple[int, int] | None
) -> Generator[Profiler, None, None]:
    """A profiler that also writes a window that the run ends in."""
    if window is not None and (len(window) != 2 or min(window) < 1):
        raise UserError(
            f"training.profile={window} should be the first step, from 1 on, and how "
            "many steps."
        )
    found = Profiler(folder, window)
    try:
        yield found
    finally:
        found.stop()
