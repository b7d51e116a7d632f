"""A run between its steps: what the host keeps, and when it looks, judges and saves."""

from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from softmax_jax.optim import learning_rate
from softmax_jax.training import program as programs
from softmax_jax.training.barrier import barrier
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.config import RunConfig
from softmax_jax.training.interrupt import stop_agreed, stop_on_sigterm
from softmax_jax.training.metrics import MetricsWriter
from softmax_jax.training.profiler import profiler
from softmax_jax.training.progress import progress_bar
from softmax_jax.training.run_folder import note_environment
from softmax_jax.training.sharding import Feed
from softmax_jax.training.state import to_named
from softmax_jax.training.tasks.base import Batch, Data, Means, Sums
from softmax_jax.training.train_log import TrainLog
from softmax_jax.training.watchdog import Watchdog, watchdog

# How much later than the first the last process may have read its data.
START_SECONDS = 1800.0


class Run:
    """A run at some step: fresh, restored, or carried over from another one."""

    def __init__(
        self,
        config: RunConfig,
        program: programs.Program,
        data: Data,
        checkpoints: Checkpoints,
    ):
        self.config, self.training = config, config.training
        self.program, self.data, self.checkpoints = program, data, checkpoints
        self.feed = Feed(program.batch_sharding)
        self.batches = data.training(self.feed.rows)
        host: programs.Host = {}
        if checkpoints.latest is not None:
            self.state, host = programs.restored(program, checkpoints)
            self.batches.set_state(host["batches"])
        elif self.training.start_from is not None:
            folder = Path(self.training.start_from)
            self.state, other = programs.carried_over(program, folder)
            self.batches.set_state(other["batches"])
        else:
            self.state = program.initial()
        self.step = int(self.state.step)
        self.window = host.get("window", [])
        self.metrics = host.get("metrics", {})

    def train(self, folder: Path, label: str) -> bool:
        """Takes the steps that remain; False if asked to stop before the last one."""
        last, stopping = self.training.last_step, False
        if self.step >= last:
            return True
        note_environment(folder, self.step)
        with (
            stop_on_sigterm() as stop,
            MetricsWriter(folder, self.step) as writer,
            progress_bar(last, label, self.step) as progress,
            watchdog(self.training.watchdog) as dog,
            profiler(folder / "profile", self.training.profile) as profile,
        ):
            log = TrainLog(
                writer,
                progress,
                learning_rate(self.config.optimizer, self.training.steps),
                every=self.training.log_every,
                unit=self.data.unit,
                flops_per_unit=self.program.objective.flops_per_unit(),
                devices=self.program.mesh.size,
                step=self.step,
                window=self.window,
                latest=self.metrics,
            )
            barrier("start", START_SECONDS)
            while self.step < last and not stopping:
                profile.before(self.step + 1)
                values = self.advance(log, dog)
                profile.after(self.step, values)
                stopping = stop_agreed(stop.requested, self.step)
                at_end = self.step == last
                if at_end or self.step % self.training.eval_every == 0:
                    log.write_due(force=at_end)
                    self.validate(log)
                    dog.alive()
                if at_end:
                    self.judge(log)
                    dog.alive()
                due = self.step % self.training.checkpoint_every == 0
                if at_end or stopping or due:
                    log.write_due()
                    self.save(log)
                    dog.alive()
            self.checkpoints.wait()
        self.metrics = log.latest
        return self.step >= last

    def advance(self, log: TrainLog, dog: Watchdog) -> Sums:
        """Dispatches one step and, while it runs, reads what the one before left."""
        self.checkpoints.raise_if_failed()
        batch = self.feed.put(next(self.batches))
        self.state, values = self.program.train_step(self.state, batch)
        dog.dispatched(values)
        log.write_due()
        self.step += 1
        log.add(self.step, values)
        return values

    def validate(self, log: TrainLog) -> None:
        """Records the means over some of the validation part."""
        means = self.evaluate(self.data.validation())
        log.record({f"validation_{name}": value for name, value in means.items()})
        log.restart_clock()

    def judge(self, log: TrainLog) -> None:
        """Records what is measured once, after the last step."""
        params = self.state.params
        if jax.process_count() > 1:  # every process judges, with the whole model
            params = multihost_utils.process_allgather(params, tiled=True)
        model = nnx.merge(self.program.graph, params)
        found = self.data.judge(model, self.evaluate)
        if found:
            log.record(found)
            log.restart_clock()

    def evaluate(self, batches: Iterable[Batch]) -> Means:
        """Means over all that the batches count."""
        sums = [
            self.program.eval_step(self.state.params, self.feed.put_whole(batch))
            for batch in batches
        ]
        total = jax.tree.map(lambda *x: float(np.sum(x)), *jax.device_get(sums))
        count = total.pop("count")
        means = {name: value / count for name, value in total.items()}
        return self.program.objective.shown(means)

    def save(self, log: TrainLog) -> None:
        """Starts a checkpoint; a state that is not finite is never saved."""
        host = {
            "window": log.checked_window(),
            "metrics": log.latest,
            "batches": self.batches.get_state(),
        }
        self.checkpoints.save(self.step, to_named(self.state), host)
        log.restart_clock()
