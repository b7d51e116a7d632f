"""A process whose steps no longer finish ends itself, so that it can be restarted."""

import faulthandler
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax

from softmax_jax.errors import UserError


class Watchdog:
    """Ends the process `seconds` after the last sign of life; None never ends it.

    Its end has exit code 1 and shows the stacks of all threads on stderr. The timer is
    a thread of its own in C, so a process that hangs in a collective or holds Python's
    lock is ended too.
    """

    def __init__(self, seconds: float | None):
        self._seconds = seconds
        self._running: Any = None

    def dispatched(self, values: Any) -> None:
        """Waits for the step before the one that returns `values`, which then runs on.

        The first step, which is compiled, is not timed.
        """
        if self._seconds is None:
            return
        before, self._running = self._running, values
        if before is not None:
            jax.block_until_ready(before)
            self.alive()

    def alive(self) -> None:
        """Starts to count anew; also after work that is not a step."""
        if self._seconds is not None:
            faulthandler.dump_traceback_later(self._seconds, exit=True)


@contextmanager
def watchdog(seconds: float | None) -> Generator[Watchdog]:
    """Watches until the context is left."""
    if seconds is not None and seconds <= 0:
        raise UserError(f"training.watchdog={seconds} should be above 0, or None.")
    try:
        yield Watchdog(seconds)
    finally:
        if seconds is not None:
            faulthandler.cancel_dump_traceback_later()
