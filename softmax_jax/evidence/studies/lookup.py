"""The lookup study: one attention layer, judged far beyond its training lengths."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import softmax_jax as sj
from softmax_jax.data import lookup
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.nn import LearnedNormalizer, NormalizerParam
from softmax_jax.normalizers.parameters import declared_parameters
from softmax_jax.optim import OptimizerConfig, make_optimizer
from softmax_jax.training.progress import progress_bar

CHUNK = 100  # training steps per call, one scan
ROWS_AT_ONCE = 32  # evaluation rows per call


@dataclass(frozen=True)
class LookupConfig:
    """One arm of the lookup study.

    Attributes:
      normalizer: of the one attention head.
      learned: names of its parameters to train; None: those its class declares.
      query_scale: what multiplies the scores of a query, such as "key_lengths".
      parameters_from: another arm whose trained model is judged with this normalizer.
      width: of embeddings and head.
      embedding_variance: of the initial embeddings; None: Flax's default, 1 / width.
      vocabulary, values: numbers of different keys and values.
      shortest, longest: rows of the training batches hold so many pairs.
      lengths, rows: judged at each of these lengths on so many rows.
      steps, batch_size, optimizer: of the training.
    """

    normalizer: str = "softmax"
    learned: tuple[str, ...] | None = None
    query_scale: str | None = None
    parameters_from: str | None = None
    width: int = 64
    embedding_variance: float | None = None
    vocabulary: int = 8192
    values: int = 10
    shortest: int = 8
    longest: int = 32
    lengths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    rows: int = 256
    steps: int = 2000
    batch_size: int = 128
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.05)


class LookupModel(nnx.Module):
    """Embeds pairs and query, attends once with one head, and reads out the value."""

    def __init__(self, config: LookupConfig, *, rngs: nnx.Rngs):
        width = config.width
        linear = partial(nnx.Linear, width, width, use_bias=False, rngs=rngs)
        variance = config.embedding_variance
        deviation = (1 / width if variance is None else variance) ** 0.5
        embed = partial(
            nnx.Embed,
            features=width,
            embedding_init=nnx.initializers.normal(deviation),
            rngs=rngs,
        )
        self.key_embedding = embed(config.vocabulary)
        self.value_embedding = embed(config.values)
        self.query, self.key, self.value = linear(), linear(), linear()
        self.out = nnx.Linear(width, config.values, rngs=rngs)
        self.normalizer = LearnedNormalizer(
            config.normalizer, heads=1, learned=config.learned
        )
        self.query_scale = config.query_scale

    def __call__(self, batch: lookup.LookupBatch) -> tuple[jax.Array, jax.Array]:
        """Logits over the values [B, values] and the weights of the pairs [B, n]."""
        pairs = self.key_embedding(batch.keys) + self.value_embedding(batch.values)
        query = self.query(self.key_embedding(batch.query))
        read, weights = sj.dot_product_attention(
            query[:, None, None],
            self.key(pairs)[:, :, None],
            self.value(pairs)[:, :, None],
            mask=batch.visible[:, None, None],
            normalizer=self.normalizer(),
            query_scale=self.query_scale,
            return_weights=True,
        )
        return self.out(read[:, 0, 0]), weights[:, 0, 0]


def run(config: LookupConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm, or takes another arm's parameters, and judges it at each length.

    `folder` is that of this arm and seed; the other arm's stands beside it. Metrics are
    `accuracy@n` and `needle_weight@n`, the mean weight on the pair that was asked for.
    """
    model = LookupModel(config, rngs=nnx.Rngs(seed))
    data_key = jax.random.key(seed)
    metrics = {}
    if config.parameters_from is None:
        metrics["training_loss"] = _train(model, config, data_key, label)
        _save(model, folder / "parameters.npz")
    else:
        path = folder.parents[1] / config.parameters_from / folder.name
        _load(model, path / "parameters.npz")
    metrics |= _learned(model)
    return Outcome(metrics | _evaluate(model, config, data_key, label))


def _train(
    model: LookupModel, config: LookupConfig, key: jax.Array, label: str
) -> float:
    graph, params = nnx.split(model)
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    state = (params, optimizer.init(params))
    loss = float("nan")
    with progress_bar(config.steps, label) as bar:
        for start in range(0, config.steps, CHUNK):
            steps = jnp.arange(start, min(start + CHUNK, config.steps))
            state, losses = _train_chunk(graph, config, state, key, steps)
            loss = float(losses.mean())
            bar.update(len(steps), loss=f"{loss:.4f}")
    nnx.update(model, state[0])
    return loss


@partial(jax.jit, static_argnames=("graph", "config"), donate_argnames="state")
def _train_chunk(
    graph: nnx.GraphDef,
    config: LookupConfig,
    state: tuple[Any, Any],
    key: jax.Array,
    steps: jax.Array,
) -> tuple[tuple[Any, Any], jax.Array]:
    """One optimizer step per entry of `steps`, on batches drawn on the device."""
    optimizer = make_optimizer(config.optimizer, config.steps, state[0])

    def mean_loss(params: Any, batch: lookup.LookupBatch) -> jax.Array:
        logits, _ = nnx.merge(graph, params)(batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.answer)
        return losses.mean()

    def step(state: tuple[Any, Any], number: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = state
        batch = lookup.batch(
            jax.random.fold_in(key, number),
            config.batch_size,
            config.longest,
            shortest=config.shortest,
            vocabulary=config.vocabulary,
            values=config.values,
        )
        loss, gradient = jax.value_and_grad(mean_loss)(params, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(step, state, steps)


def _evaluate(
    model: LookupModel, config: LookupConfig, key: jax.Array, label: str
) -> dict[str, float]:
    graph, params = nnx.split(model)
    calls = -(-config.rows // ROWS_AT_ONCE)
    # Batches of evaluation are numbered from the end: training never draws them.
    keys = jax.random.split(jax.random.fold_in(key, 2**31 - 1), calls)
    # Two compilations serve all lengths: the short ones are padded less.
    longest = max(config.lengths)
    metrics = {}
    with progress_bar(len(config.lengths), f"{label} judged") as bar:
        for n in config.lengths:
            capacity = longest if n > longest // 8 else longest // 8
            judge = partial(_judge, graph, config, capacity, params)
            accuracy, weight = np.mean([judge(key, n) for key in keys], axis=0)
            bar.update(1, length=n, accuracy=f"{accuracy:.2f}")
            metrics[f"accuracy@{n}"] = float(accuracy)
            metrics[f"needle_weight@{n}"] = float(weight)
    return metrics


@partial(jax.jit, static_argnames=("graph", "config", "capacity"))
def _judge(
    graph: nnx.GraphDef,
    config: LookupConfig,
    capacity: int,
    params: Any,
    key: jax.Array,
    n: jax.Array,
) -> jax.Array:
    """Accuracy and mean weight on the needle over rows of n pairs."""
    batch = lookup.batch(
        key,
        ROWS_AT_ONCE,
        n,
        capacity=capacity,
        vocabulary=config.vocabulary,
        values=config.values,
    )
    logits, weights = nnx.merge(graph, params)(batch)
    right = logits.argmax(-1) == batch.answer
    weight = jnp.take_along_axis(weights, batch.needle[:, None], axis=1)
    return jnp.stack([right.astype(jnp.float32).mean(), weight.mean()])


def _learned(model: LookupModel) -> dict[str, float]:
    """The normalizer's own parameters, by name."""
    normalizer = model.normalizer()
    names = declared_parameters(normalizer)
    return {name: float(jnp.mean(getattr(normalizer, name))) for name in names}


def _save(model: LookupModel, path: Path) -> None:
    """Writes the parameters that do not belong to the normalizer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {k: np.asarray(v[...]) for k, v in _shared(model).items()}
    np.savez(path, **arrays)


def _load(model: LookupModel, path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing: the arm it belongs to has to be run first")
    with np.load(path) as arrays:
        for name, variable in _shared(model).items():
            variable[...] = jnp.asarray(arrays[name])


def _shared(model: LookupModel) -> Mapping[str, nnx.Variable]:
    """The parameters that do not belong to the normalizer, by dotted path."""
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {
        ".".join(map(str, path)): variable
        for path, variable in params
        if not isinstance(variable, NormalizerParam)
    }
