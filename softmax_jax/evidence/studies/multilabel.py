"""The multi-label study: the map on the last layer as a guess of the set of labels."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import softmax_jax as sj
from softmax_jax.data import multilabel
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import supervised
from softmax_jax.optim import OptimizerConfig

CHOICES = {"count": ("none", "true", "predicted"), "loss": ("js", "own")}
THRESHOLDS = np.geomspace(1e-3, 0.5, 60)  # tried on the validation part


@dataclass(frozen=True)
class MultilabelConfig:
    """One arm of the multi-label study.

    Attributes:
      normalizer: the map from logits to a distribution over the labels.
      count: whether the number of labels k is used, "true" or "predicted" by a head of
        the same network; r-softmax gets r = 1 - k / n, other maps keep their k largest.
        Training always uses the true number. With "none" the set is p > 0, and for
        maps without zeros p > a threshold that is tuned on the validation part.
      loss: "js", the Jensen-Shannon divergence from the uniform distribution over the
        labels; or "own", the Fenchel-Young loss of the map, whose gradient is
        p - target: cross-entropy for softmax, the sparsemax loss for sparsemax.
      sets: names of data sets.
      width: of the one hidden layer.
      steps, batch_size, optimizer: of the training.
    """

    normalizer: str = "softmax"
    count: str = "none"
    loss: str = "js"
    sets: tuple[str, ...] = ("20/5",)
    width: int = 64
    steps: int = 800
    batch_size: int = 64
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is unknown; "
                    f"use {' or '.join(allowed)}"
                )


class Classifier(nnx.Module):
    """A hidden layer, logits of the labels, and a logit of the share of labels."""

    def __init__(self, features: int, width: int, classes: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, width, rngs=rngs)
        self.out = nnx.Linear(width, classes, rngs=rngs)
        self.count = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [B, classes], and the share of them that are labels, [B]."""
        hidden = nnx.relu(self.hidden(features))
        return self.out(hidden), nnx.sigmoid(self.count(hidden)[:, 0])


def run(config: MultilabelConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains and judges on every set: `js@set` and `f1@set`, of the test part.

    F1 is that of the set of labels of a row, averaged over rows. `f1_generated` and
    `js_generated` are means over the generated sets, and `support@set` is the mean
    number of labels that were given.
    """
    metrics: dict[str, float] = {}
    for name in config.sets:
        parts = multilabel.load(name, seed)
        rows = jax.tree.map(jnp.asarray, parts.train)
        shape = (rows.features.shape[1], config.width, rows.labels.shape[1])
        model = Classifier(*shape, rngs=nnx.Rngs(seed))
        where = f"{label} on {name}"
        for _ in supervised.train(_objective, config, model, rows, seed, where):
            pass
        metrics |= {f"{k}@{name}": v for k, v in _judge(config, model, parts).items()}
    for metric in ("f1", "js"):
        ours = [metrics[f"{metric}@{name}"] for name in config.sets if name != "yeast"]
        if ours:
            metrics[f"{metric}_generated"] = float(np.mean(ours))
    return Outcome(metrics)


def divergence(p: jax.Array, q: jax.Array) -> jax.Array:
    """The Jensen-Shannon divergence in nats, with 0 log 0 = 0 and no gradient there.

    Nothing is added inside a logarithm: where p is exactly 0 a sparse map has no
    derivative, so the infinite slope of p log p never counts.
    """
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def _relative_entropy(p: jax.Array, q: jax.Array) -> jax.Array:
    some = p > 0
    ratio = jnp.where(some, p, 1) / jnp.where(some, q, 1)
    return (p * jnp.log(ratio)).sum(-1)


def _distribution(
    config: MultilabelConfig, logits: jax.Array, share: jax.Array
) -> jax.Array:
    """The map's distribution; `share` is k / n, one per row."""
    normalizer: Any = sj.parse(config.normalizer)
    if config.count != "none" and hasattr(normalizer, "r"):
        rate = jnp.maximum(1 - share[:, None], 0)  # 1 - n / n may round below 0
        normalizer = dataclasses.replace(normalizer, r=rate)
    return normalizer(logits)


def _objective(
    config: MultilabelConfig, model: Classifier, batch: multilabel.Rows
) -> jax.Array:
    logits, share = model(batch.features)
    labels = batch.labels.astype(logits.dtype)
    target = labels / labels.sum(-1, keepdims=True)
    p = _distribution(config, logits, labels.mean(-1))
    if config.loss == "js":
        loss = divergence(p, target).mean()
    else:
        # A stand-in with the gradient of the loss: its value is of no meaning.
        loss = (jax.lax.stop_gradient(p - target) * logits).sum(-1).mean()
    if config.count == "predicted":
        loss = loss + jnp.square(share - labels.mean(-1)).mean()
    return loss


def _judge(
    config: MultilabelConfig, model: Classifier, parts: multilabel.Parts
) -> dict[str, float]:
    both = jax.tree.map(lambda *x: np.concatenate(x), parts.validation, parts.test)
    graph, params = nnx.split(model)
    found = _predict(config, graph, params, jax.tree.map(jnp.asarray, both))
    held = len(parts.validation.labels)
    p, k, js = map(np.asarray, found)
    if config.count == "none":
        cut = 0.0
        if p.min() > 0:  # a map without zeros
            tried = [f1(p[:held] > t, parts.validation.labels) for t in THRESHOLDS]
            cut = float(THRESHOLDS[np.argmax(tried)])
        support = p > cut
    else:
        support = largest(p, k) & (p > 0)
    return {
        "f1": f1(support[held:], parts.test.labels),
        "js": float(js[held:].mean()),
        "support": float(support[held:].sum(-1).mean()),
    }


@partial(jax.jit, static_argnames=("config", "graph"))
def _predict(
    config: MultilabelConfig, graph: nnx.GraphDef, params: Any, rows: multilabel.Rows
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each row the distribution, the number of labels, and the divergence.

    The number is the true one, unless the arm predicts it.
    """
    logits, share = nnx.merge(graph, params)(rows.features)
    n = rows.labels.shape[1]
    labels = rows.labels.astype(logits.dtype)
    k = labels.sum(-1)
    target = labels / k[:, None]
    if config.count == "predicted":
        k = jnp.clip(jnp.round(n * share), 1, n)
    p = _distribution(config, logits, k / n)
    return p, k, divergence(p, target)


def largest(p: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Which entries are among the k largest of their row."""
    return (-p).argsort(-1, kind="stable").argsort(-1) < k[:, None]


def f1(support: np.ndarray, labels: np.ndarray) -> float:
    """2 |S and T| / (|S| + |T|), averaged over rows; T is never empty."""
    common = (support & labels).sum(-1)
    return float(np.mean(2 * common / (support.sum(-1) + labels.sum(-1))))
