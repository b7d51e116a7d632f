"""The many-class study: sparse-softmax against softmax, from scratch and fine-tuned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from softmax_jax.data import classes
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import supervised
from softmax_jax.losses import sparse_softmax_loss
from softmax_jax.optim import OptimizerConfig

LOSSES = ("softmax", "sparse_softmax")
DOMAINS = ("source", "target")


@dataclass(frozen=True)
class ManyClassesConfig:
    """One arm of the many-class study.

    Attributes:
      loss: "softmax" or "sparse_softmax", the cross-entropy over the `k` largest.
      domain: "source", or "target", where every centre is displaced by a Gaussian of
        deviation `shift`.
      parameters_from: another arm whose trained model this one goes on from.
      branches, spreads, features, noise: of the tree of classes and its clouds.
      each, test_each: points per class to train and to judge on.
      width: of the one hidden layer.
      checkpoints: steps after which the test part is judged too; multiples of 100.
      steps, batch_size, optimizer: of the training.
    """

    loss: str = "softmax"
    k: int = 10
    domain: str = "source"
    parameters_from: str | None = None
    branches: tuple[int, ...] = (8, 8, 16)
    spreads: tuple[float, ...] = (1.0, 0.7, 0.5)
    features: int = 32
    noise: float = 1.0
    shift: float = 0.4
    each: int = 20
    test_each: int = 5
    width: int = 128
    checkpoints: tuple[int, ...] = (100, 200, 400, 800)
    steps: int = 1600
    batch_size: int = 128
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)

    def __post_init__(self) -> None:
        for name, allowed in {"loss": LOSSES, "domain": DOMAINS}.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is unknown; "
                    f"use {' or '.join(allowed)}"
                )


class Classifier(nnx.Module):
    """A hidden layer and a logit for every class."""

    def __init__(self, config: ManyClassesConfig, *, rngs: nnx.Rngs):
        count = int(np.prod(config.branches))
        self.hidden = nnx.Linear(config.features, config.width, rngs=rngs)
        self.out = nnx.Linear(config.width, count, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.hidden(features)))


def run(config: ManyClassesConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm and judges it.

    Of the test part, after the training and `@step` at the checkpoints: `accuracy`,
    `logit_range`, the mean of the largest minus the smallest logit of a row, and
    `label_kept`, the share of rows whose label is among the `k` largest. And `gap`, the
    accuracy on the training part minus that on the test part.
    """
    model = Classifier(config, rngs=nnx.Rngs(seed))
    train, test = _data(config, jax.random.key(seed))
    metrics: dict[str, float] = {}
    if config.parameters_from is not None:
        path = folder.parents[1] / config.parameters_from / folder.name
        _load(model, path / "parameters.npz")
    metrics |= _at(0, _judge(config, model, test))
    training_loss = float("nan")
    chunks = supervised.train(_objective, config, model, train, seed, label)
    for step, loss in chunks:
        training_loss = loss
        if step in config.checkpoints:
            metrics |= _at(step, _judge(config, model, test))
    _save(model, folder / "parameters.npz")
    final = _judge(config, model, test)
    metrics |= _at(config.steps, final)
    gap = _judge(config, model, train)["accuracy"] - final["accuracy"]
    return Outcome(metrics | final | {"gap": gap, "training_loss": training_loss})


def _data(
    config: ManyClassesConfig, key: jax.Array
) -> tuple[classes.Rows, classes.Rows]:
    """What to train and to judge on; the same key shares tree and clouds."""
    tree_key, shift_key, train_key, test_key = jax.random.split(key, 4)
    features = config.features
    found = classes.centres(tree_key, config.branches, config.spreads, features)
    if config.domain == "target":
        found = found + config.shift * jax.random.normal(shift_key, found.shape)
        train_key, test_key = jax.random.split(shift_key)
    return (
        classes.clouds(train_key, found, config.each, config.noise),
        classes.clouds(test_key, found, config.test_each, config.noise),
    )


def _objective(
    config: ManyClassesConfig, model: Classifier, batch: classes.Rows
) -> jax.Array:
    logits = model(batch.features)
    loss: Callable[..., jax.Array] = optax.softmax_cross_entropy_with_integer_labels
    if config.loss == "sparse_softmax":
        loss = partial(sparse_softmax_loss, k=config.k)
    return loss(logits, batch.labels).mean()


def _judge(
    config: ManyClassesConfig, model: Classifier, rows: classes.Rows
) -> dict[str, float]:
    graph, params = nnx.split(model)
    names = ("accuracy", "logit_range", "label_kept")
    found = _measure(graph, config.k, params, rows)
    return dict(zip(names, map(float, found), strict=True))


@partial(jax.jit, static_argnames=("graph", "k"))
def _measure(graph: nnx.GraphDef, k: int, params: Any, rows: classes.Rows) -> jax.Array:
    logits = nnx.merge(graph, params)(rows.features)
    target = jnp.take_along_axis(logits, rows.labels[:, None], axis=1)
    above = (logits > target).sum(-1)
    span = logits.max(-1) - logits.min(-1)
    return jnp.stack([(above == 0).mean(), span.mean(), (above < k).mean()])


def _at(step: int, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{name}@{step}": value for name, value in metrics.items()}


def _save(model: Classifier, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        name: np.asarray(v[...]) for name, v in _flat(model).items()
    }
    np.savez(path, **arrays)


def _load(model: Classifier, path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing: the arm it belongs to has to be run first")
    with np.load(path) as arrays:
        for name, variable in _flat(model).items():
            variable[...] = jnp.asarray(arrays[name])


def _flat(model: Classifier) -> dict[str, nnx.Variable]:
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): variable for path, variable in params}
