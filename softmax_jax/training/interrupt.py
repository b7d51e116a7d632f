"""SIGTERM asks a run to stop after the step it is in."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop."""

    requested = False


@contextmanager
def stop_on_sigterm() -> Generator[StopRequest]:
    """Turns SIGTERM into a flag; the handler there was before comes back at the end.

    Python delivers signals to the main thread only; elsewhere the flag stays down.
    """
    request = StopRequest()

    def handler(number: int, frame: FrameType | None) -> None:
        request.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
