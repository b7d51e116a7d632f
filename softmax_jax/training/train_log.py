"""The training losses between two log lines, left on the device until they are read."""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from softmax_jax.errors import UserError
from softmax_jax.training.flops import utilization
from softmax_jax.training.metrics import Line, MetricsWriter
from softmax_jax.training.progress import Progress

Values = dict[str, float]
LAST = ("gradient_norm", "skipped_steps")  # shown as the last step left them


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
        unit: str = "tokens",
        flops_per_unit: float = 0.0,
        devices: int = 1,
        step: int = 0,
        window: Sequence[Any] = (),
        latest: Line | None = None,
    ):
        self.latest = dict(latest or {})
        self._writer, self._progress, self._schedule = writer, progress, schedule
        self._every, self._unit = every, unit
        self._flops_per_unit, self._devices = flops_per_unit, devices
        self._step, self._window = step, list(window)
        self.restart_clock()

    def add(self, step: int, values: dict[str, jax.Array]) -> None:
        """Notes what the step returned: its `count` is that of units trained on."""
        self._step = step
        self._window.append(values)
        self._progress.update()

    def write_due(self, force: bool = False) -> None:
        """Writes a line if the window ends at a log step, or if forced to."""
        if self._window and (force or self._step % self._every == 0):
            window = self.checked_window()
            self._window = []
            self._write(window)

    def checked_window(self) -> list[Values]:
        """What the steps since the last line returned; may raise TrainingDiverged."""
        self._window = jax.tree.map(float, jax.device_get(self._window))
        first = self._step - len(self._window) + 1
        for step, values in enumerate(self._window, first):
            for name in ("loss", "gradient_norm"):
                if not math.isfinite(values[name]):
                    raise TrainingDiverged(_sentence(name, step, values[name]))
        return self._window

    def restart_clock(self) -> None:
        """Starts to time steps anew, after work that is not training."""
        self._start, self._not_timed = time.perf_counter(), len(self._window)

    def record(self, values: Line) -> None:
        """Writes values of the current step that are not training losses."""
        self._writer.write(self._step, values)
        self.latest |= values

    def _write(self, window: Sequence[Values]) -> None:
        """Means over the window; norms and counts are those of its last step."""
        seconds = time.perf_counter() - self._start
        timed = window[self._not_timed :]
        rate = sum(values["count"] for values in timed) / seconds
        self.restart_clock()
        last = window[-1]
        means = {
            f"train_{name}": sum(values[name] for values in window) / len(window)
            for name in last
            if name not in (*LAST, "count")
        }
        with jax.transfer_guard("allow"):  # one number in a log line
            learning_rate = float(jnp.asarray(self._schedule(self._step - 1)))
        self.record(
            means
            | {name: last[name] for name in LAST if name in last}
            | {"learning_rate": learning_rate, f"{self._unit}_per_second": rate}
            | self._utilization(rate)
        )
        loss = means["train_loss"]
        shown = {"loss": f"{loss:.4f}", f"{self._unit}/s": f"{rate:,.0f}"}
        self._progress.update(0, **shown)

    def _utilization(self, rate: float) -> Values:
        """MFU, where the best of this kind of device is known."""
        found = utilization(rate * self._flops_per_unit, 1.0, self._devices)
        return {} if found is None else {"model_flops_utilization": found}


def _sentence(name: str, step: int, value: float) -> str:
    quantity = name.replace("_", " ")
    return (
        f"Training diverged: the {quantity} of step {step} is {value}; try a smaller "
        "optimizer.learning_rate or a longer optimizer.warmup in a new folder."
    )
