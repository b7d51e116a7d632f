"""A progress bar on a terminal, a line now and then anywhere else."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager

import jax
from rich import progress as rich_progress
from rich.console import Console

SECONDS_BETWEEN_LINES = 5.0


class Progress(ABC):
    """What `progress_bar` yields."""

    @abstractmethod
    def update(self, n: int = 1, **columns: object) -> None:
        """Counts `n` more units; `columns` are shown as `name value` until replaced."""


@contextmanager
def progress_bar(total: int, description: str, done: int = 0) -> Generator[Progress]:
    """Shows how much of `total` is done, the given columns and the time left.

    `done` units were finished before, for instance by the run that is resumed. Of
    several processes the first one shows it.
    """
    if jax.process_index() != 0:
        yield _Silent()
        return
    console = Console()
    if not console.is_terminal:
        lines = _Lines(total, description, done)
        try:
            yield lines
        finally:
            lines.show()
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[columns]}"),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, completed=done, columns="")
        yield _Bar(bar, task)


class _Silent(Progress):
    def update(self, n: int = 1, **columns: object) -> None:
        pass


class _Bar(Progress):
    def __init__(self, bar: rich_progress.Progress, task: rich_progress.TaskID):
        self._bar, self._task = bar, task
        self._columns: dict[str, object] = {}

    def update(self, n: int = 1, **columns: object) -> None:
        self._columns |= columns
        self._bar.update(self._task, advance=n, columns=_text(self._columns))


class _Lines(Progress):
    def __init__(self, total: int, description: str, done: int):
        self._total, self._description = total, description
        self._first = self._done = done
        self._columns: dict[str, object] = {}
        self._start = self._last = time.monotonic()

    def update(self, n: int = 1, **columns: object) -> None:
        self._done += n
        self._columns |= columns
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self.show()

    def show(self) -> None:
        self._last = time.monotonic()
        rate = (self._last - self._start) / max(1, self._done - self._first)
        left = round(rate * (self._total - self._done))
        line = f"{self._description} {self._done}/{self._total}"
        line += f"  {_text(self._columns)}  {left // 60}:{left % 60:02d} left\n"
        sys.stdout.write(line)
        sys.stdout.flush()


def _text(columns: dict[str, object]) -> str:
    return "  ".join(f"{name} {value}" for name, value in columns.items())
