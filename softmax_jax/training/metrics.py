"""Numbers of a run: JSON lines, which are the record, and TensorBoard events."""

import json
from pathlib import Path
from types import TracebackType

import jax
from tensorboardX import SummaryWriter

Line = dict[str, int | float]


class MetricsWriter:
    """Appends lines `{"step": ..., name: value, ...}` to `metrics.jsonl`.

    Lines beyond `last_step`, which an interrupted run left behind its last
    checkpoint, are removed first: the resumed run writes them again. Of several
    processes the first one writes; the others' writers do nothing.
    """

    def __init__(self, folder: Path, last_step: int = 0):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        path = folder / "metrics.jsonl"
        lines = [json.dumps(line) + "\n" for line in read_metrics(folder, last_step)]
        replace_text(path, "".join(lines))
        self._file = path.open("a")
        self._events = SummaryWriter(
            str(folder / "tensorboard"), purge_step=last_step + 1
        )

    def write(self, step: int, values: Line) -> None:
        """Writes one line and makes sure that it is in the file."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step} | values) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writes:
            self._file.close()
            self._events.close()


def read_metrics(folder: Path, last_step: int | None = None) -> list[Line]:
    """The lines of a run's `metrics.jsonl`, up to and including `last_step`.

    A last line that a killed process left unfinished is not counted.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in rows if last_step is None or row["step"] <= last_step]


def replace_text(path: Path, text: str) -> None:
    """Writes a file whole or, if the process is killed, not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)
