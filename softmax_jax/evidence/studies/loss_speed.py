"""What one loss and its gradient cost, side by side in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import optax

import softmax_jax as sj
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.losses import sparse_softmax_loss


@dataclass(frozen=True)
class LossSpeedConfig:
    """Gaussian logits of `rows` examples over `classes`, timed `repeats` times."""

    rows: int = 256
    classes: int = 8192
    k: int = 10
    repeats: int = 10


def run(config: LossSpeedConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Times the gradient of each loss in turn, again and again, and takes the minima.

    `milliseconds@loss`, and `ratio@loss`: the time of sparse-softmax over that of the
    loss. Of sparsemax and entmax-1.5 only p - label is computed, which is the gradient
    of their losses.
    """
    logits_key, label_key = jax.random.split(jax.random.key(seed))
    logits = jax.random.normal(logits_key, (config.rows, config.classes))
    labels = jax.random.randint(label_key, (config.rows,), 0, config.classes)
    gradients = {
        "sparse_softmax": _gradient(partial(sparse_softmax_loss, k=config.k)),
        "softmax": _gradient(optax.softmax_cross_entropy_with_integer_labels),
        "sparsemax": _difference(sj.sparsemax),
        "entmax15": _difference(sj.entmax15),
    }
    best = dict.fromkeys(gradients, float("inf"))
    for _ in range(config.repeats + 1):  # the first compiles
        for name, gradient in gradients.items():
            start = time.perf_counter()
            gradient(logits, labels).block_until_ready()
            best[name] = min(best[name], time.perf_counter() - start)
    metrics = {f"milliseconds@{name}": 1e3 * spent for name, spent in best.items()}
    ours = best.pop("sparse_softmax")
    return Outcome(metrics | {f"ratio@{name}": ours / t for name, t in best.items()})


def _gradient(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return jax.jit(jax.grad(lambda logits, labels: loss(logits, labels).sum()))


def _difference(normalizer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def gradient(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return normalizer(logits) - jax.nn.one_hot(labels, logits.shape[1])

    return jax.jit(gradient)
