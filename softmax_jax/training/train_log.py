"""The training losses between two log lines, left on the device until they are read."""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from softmax_jax.errors import UserError
from softmax_jax.training.metrics import Line, MetricsWriter
from softmax_jax.training.progress import Progress


class TrainingDiverged(UserError):
    """A loss or gradient that is not finite; the sentence names the first such step."""


class TrainLog:
    """Collects each step's values and writes their mean every `every` steps.

    `add` never waits for the device. `write_due`, called when the next step has been
    dispatched, reads the finished window while that step runs.
    """

    def __init__(
        self,
        writer: MetricsWriter,
        progress: Progress,
        schedule: optax.Schedule,
        every: int,
        tokens_per_step: int,
        step: int = 0,
        window: Sequence[Any] = (),
        latest: Line | None = None,
    ):
        self.latest = dict(latest or {})
        self._writer, self._progress, self._schedule = writer, progress, schedule
        self._every, self._tokens_per_step = every, tokens_per_step
        self._step, self._window = step, list(window)
        self.restart_clock()

    def add(self, step: int, values: dict[str, jax.Array]) -> None:
        """Notes what the step returned."""
        self._step = step
        self._steps_timed += 1
        self._window.append((values["loss"], values["gradient_norm"]))
        self._progress.update()

    def write_due(self, force: bool = False) -> None:
        """Writes a line if the window ends at a log step, or if forced to."""
        if self._window and (force or self._step % self._every == 0):
            losses, norms = zip(*self.checked_window(), strict=True)
            self._window = []
            self._write(sum(losses) / len(losses), norms[-1])

    def checked_window(self) -> list[tuple[float, float]]:
        """Losses and gradient norms since the last line; may raise TrainingDiverged."""
        self._window = [
            tuple(map(float, pair)) for pair in jax.device_get(self._window)
        ]
        first = self._step - len(self._window) + 1
        for step, (loss, norm) in enumerate(self._window, first):
            if not math.isfinite(loss):
                raise TrainingDiverged(_sentence("loss", step, loss))
            if not math.isfinite(norm):
                raise TrainingDiverged(_sentence("gradient norm", step, norm))
        return self._window

    def restart_clock(self) -> None:
        """Starts to time steps anew, after work that is not training."""
        self._start, self._steps_timed = time.perf_counter(), 0

    def record(self, values: Line) -> None:
        """Writes values of the current step that are not training losses."""
        self._writer.write(self._step, values)
        self.latest |= values

    def _write(self, loss: float, gradient_norm: float) -> None:
        seconds = time.perf_counter() - self._start
        rate = self._steps_timed * self._tokens_per_step / seconds
        self.restart_clock()
        with jax.transfer_guard("allow"):  # one number in a log line
            learning_rate = float(jnp.asarray(self._schedule(self._step - 1)))
        values = {
            "train_loss": loss,
            "gradient_norm": gradient_norm,
            "learning_rate": learning_rate,
            "tokens_per_second": rate,
        }
        self.record(values)
        self._progress.update(0, **{"loss": f"{loss:.4f}", "tokens/s": f"{rate:,.0f}"})


def _sentence(quantity: str, step: int, value: float) -> str:
    return (
        f"Training diverged: the {quantity} of step {step} is {value}; try a smaller "
        "optimizer.learning_rate or a longer optimizer.warmup in a new folder."
    )
