"""A run between its steps: what the host keeps, and when it looks, judges and saves."""

import math
from pathlib import Path

import jax
import numpy as np

from softmax_jax.data import batches
from softmax_jax.data.text import Corpus
from softmax_jax.optim import learning_rate
from softmax_jax.training import program as programs
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.config import RunConfig
from softmax_jax.training.interrupt import stop_agreed, stop_on_sigterm
from softmax_jax.training.metrics import MetricsWriter
from softmax_jax.training.progress import progress_bar
from softmax_jax.training.run_folder import note_environment
from softmax_jax.training.sharding import put_batch
from softmax_jax.training.state import to_named
from softmax_jax.training.train_log import TrainLog
from softmax_jax.training.watchdog import Watchdog, watchdog


class Run:
    """A run at some step: fresh, restored, or carried over from another one."""

    def __init__(
        self,
        config: RunConfig,
        program: programs.Program,
        corpus: Corpus,
        checkpoints: Checkpoints,
    ):
        self.config, self.training = config, config.training
        self.program, self.corpus, self.checkpoints = program, corpus, checkpoints
        self.batches = batches.train_batches(
            corpus.train,
            self.training.sequence_length,
            self.training.batch_size,
            self.training.seed,
        )
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
        ):
            log = TrainLog(
                writer,
                progress,
                learning_rate(self.config.optimizer, self.training.steps),
                every=self.training.log_every,
                tokens_per_step=self.training.tokens_per_step,
                step=self.step,
                window=self.window,
                latest=self.metrics,
            )
            while self.step < last and not stopping:
                self.advance(log, dog)
                stopping = stop_agreed(stop.requested, self.step)
                at_end = self.step == last
                if at_end or self.step % self.training.eval_every == 0:
                    log.write_due(force=at_end)
                    self.evaluate(log)
                    dog.alive()
                due = self.step % self.training.checkpoint_every == 0
                if at_end or stopping or due:
                    log.write_due()
                    self.save(log)
                    dog.alive()
            self.checkpoints.wait()
        self.metrics = log.latest
        return self.step >= last

    def advance(self, log: TrainLog, dog: Watchdog) -> None:
        """Dispatches one step and, while it runs, reads what the one before left."""
        self.checkpoints.raise_if_failed()
        tokens = put_batch(next(self.batches), self.program.batch_sharding)
        self.state, values = self.program.train_step(self.state, tokens)
        dog.dispatched(values)
        log.write_due()
        self.step += 1
        log.add(self.step, values)

    def evaluate(self, log: TrainLog) -> None:
        """Records the mean loss over the first validation batches."""
        losses = [
            self.program.eval_step(
                self.state.params, put_batch(tokens, self.program.batch_sharding)
            )
            for tokens in batches.evaluation_batches(
                self.corpus.validation,
                self.training.sequence_length,
                self.training.batch_size,
                self.training.eval_batches,
            )
        ]
        loss = float(np.mean(jax.device_get(losses)))
        log.record({"validation_loss": loss, "validation_bits": loss / math.log(2)})
        log.restart_clock()

    def save(self, log: TrainLog) -> None:
        """Starts a checkpoint; a state that is not finite is never saved."""
        host = {
            "window": log.checked_window(),
            "metrics": log.latest,
            "batches": self.batches.get_state(),
        }
        self.checkpoints.save(self.step, to_named(self.state), host)
        log.restart_clock()
