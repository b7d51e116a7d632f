"""SIGTERM asks a run to stop after the step it is in, or soon after in all processes.

With several processes the signal goes to JAX: whichever process is told tells all
others through the coordination service, and they agree on a step that none of them has
passed. Nothing waits for a device, and nothing is sent until somebody is told.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Whether somebody asked this process to stop."""

    requested = False


def stop_agreed(requested: bool, step: int) -> bool:
    """Whether to stop after `step`: the same answer in every process.

    Every process asks after each of its steps. One process stops when it is
    `requested`; of several all stop, a few steps after one of them got SIGTERM.
    """
    if jax.process_count() == 1:
        return requested
    return multihost_utils.reached_preemption_sync_point(step)


@contextmanager
def stop_on_sigterm() -> Generator[StopRequest]:
    """Turns SIGTERM into a flag; the handler there was before comes back at the end.

    Python delivers signals to the main thread only; elsewhere the flag stays down.
    With several processes the handler is JAX's own, which a new one would displace.
    """
    request = StopRequest()

    def handler(number: int, frame: FrameType | None) -> None:
        request.requested = True

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or jax.process_count() > 1:
        yield request
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
