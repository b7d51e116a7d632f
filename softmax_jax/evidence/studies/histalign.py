"""The ambiguous-template study: does a trained memory point at what was read?"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softmax_jax.data import ambiguous_templates
from softmax_jax.data.ambiguous_templates import EMBEDDINGS, Sentences
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import supervised
from softmax_jax.losses import histalign
from softmax_jax.losses.histalign import Memory
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import BlocksConfig
from softmax_jax.optim import OptimizerConfig

TOTALS = {
    "histalign": histalign.histalign_loss,
    "histalign_release": histalign.histalign_loss_release,
}
LOSSES = ("cross_entropy", "trime", *TOTALS)
TOP = (2, 5, 10)


@dataclass(frozen=True)
class HistAlignConfig:
    """One arm of the ambiguous-template study.

    Attributes:
      loss: "cross_entropy", "trime", or the total of the paper, "histalign", or of its
        release, "histalign_release".
      embedding: of words, fixed, for input and output: the corners of parallelograms or
        "random".
      parameters_from: another arm whose trained model this one goes on from.
      groups, unseen: of four words each, and how many are only judged.
      width, layers, heads: of the model.
      margin, weight: of the ranking.
      steps, batch_size, optimizer: of the training. No weight decay: it would shrink
        the embeddings too, which have no gradient.
    """

    loss: str = "cross_entropy"
    embedding: str = "parallelogram"
    parameters_from: str | None = None
    groups: int = 60
    unseen: int = 20
    width: int = 32
    layers: int = 2
    heads: int = 4
    margin: float = 1e-3
    weight: float = 1.0
    steps: int = 1000
    batch_size: int = 64
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, weight_decay=0.0)

    def __post_init__(self) -> None:
        for name, allowed in {"loss": LOSSES, "embedding": EMBEDDINGS}.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is unknown; "
                    f"use {' or '.join(allowed)}"
                )
        if self.optimizer.weight_decay:
            raise UserError("optimizer.weight_decay must be 0: embeddings are fixed")


class Read(NamedTuple):
    """What a model makes of sentences: of the last place, and of the memory."""

    logits: jax.Array  # [B, 1, V]
    scores: jax.Array  # [B, 1, T]
    memory: Memory


class CacheModel(nnx.Module):
    """A causal Transformer with fixed embeddings and its own states as memory."""

    def __init__(self, config: HistAlignConfig, table: np.ndarray, *, rngs: nnx.Rngs):
        blocks = BlocksConfig(
            layers=config.layers, width=config.width, heads=config.heads
        )
        self.embedding = nnx.Param(jnp.asarray(table))
        self.blocks = make_blocks(blocks, rngs=rngs)
        self.norm = make_norm(blocks, rngs=rngs)

    def table(self) -> jax.Array:
        return jax.lax.stop_gradient(self.embedding[...])

    def __call__(self, rows: Sentences) -> Read:
        table = self.table()
        x, _ = run_blocks(self.blocks, table[rows.inputs], remat="none")
        states = self.norm(x)
        last = states[:, -1:]
        memory = histalign.decoder_memory(jnp.asarray(rows.targets))
        return Read(
            jnp.einsum("btd,vd->btv", last, table),
            histalign.cache_scores(last, states),
            memory._replace(visible=memory.visible[:, -1:]),
        )


def run(config: HistAlignConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm and judges it on the groups it was trained on, and on the others.

    `full@k`, `cache@k`, `layer@k`: the share of sentences with both words among the k
    most probable, of the whole model, of the memory and of the output layer alone, in
    unseen groups; `full_train@k`, ... in those of the training. The whole model is the
    output layer if the loss is cross-entropy, and else the joint probability. `loss`
    and `loss_train` are the whole model's cross-entropy, the mean over both last words.
    """
    made = ambiguous_templates.templates(
        np.random.default_rng(seed),
        groups=config.groups,
        unseen=config.unseen,
        width=config.width,
        embedding=config.embedding,
    )
    train, unseen = (jax.tree.map(jnp.asarray, x) for x in (made.train, made.unseen))
    model = CacheModel(config, made.embedding, rngs=nnx.Rngs(seed))
    if config.parameters_from is not None:
        path = folder.parents[1] / config.parameters_from / folder.name
        _load(model, path / "parameters.npz")
    for _ in supervised.train(_objective, config, model, train, seed, label):
        pass
    _save(model, folder / "parameters.npz")
    found = _judge(config, model, unseen)
    for name, value in _judge(config, model, train).items():
        metric, at, k = name.partition("@")
        found[f"{metric}_train{at}{k}"] = value
    return Outcome(found)


def _objective(
    config: HistAlignConfig, model: CacheModel, batch: Sentences
) -> jax.Array:
    """The loss of the last word alone."""
    read, targets = model(batch), jnp.asarray(batch.targets)
    labels = targets[:, -1:]
    if config.loss == "cross_entropy":
        one_hot = jax.nn.one_hot(labels, read.logits.shape[-1])
        return -(jax.nn.log_softmax(read.logits) * one_hot).sum(-1).mean()
    if config.loss == "trime":
        return histalign.trime_loss(*read, labels).mean()
    likeness = histalign.token_likeness(model.table(), labels, targets)
    ranking = {"margin": config.margin, "weight": config.weight}
    return TOTALS[config.loss](*read, labels, likeness, **ranking).mean()


def _judge(
    config: HistAlignConfig, model: CacheModel, rows: Sentences
) -> dict[str, float]:
    graph, params = nnx.split(model)
    found = _measure(graph, config.loss == "cross_entropy", params, rows)
    return {name: float(value) for name, value in found.items()}


@partial(jax.jit, static_argnames=("graph", "layer_alone"))
def _measure(
    graph: nnx.GraphDef, layer_alone: bool, params: Any, rows: Sentences
) -> dict[str, jax.Array]:
    read = nnx.merge(graph, params)(rows)
    size = read.logits.shape[-1]
    layer = jax.nn.log_softmax(read.logits)
    joint = histalign.joint_log_probabilities(*read)
    full = layer if layer_alone else joint
    cache = histalign.cache_log_probabilities(read.scores, read.memory, size)
    pair = jnp.take_along_axis(full[:, 0], rows.words, axis=-1)
    found = {"loss": -pair.mean()}
    for name, p in {"full": full, "cache": cache, "layer": layer}.items():
        least = jnp.take_along_axis(p[:, 0], rows.words, axis=-1).min(-1, keepdims=True)
        # Tokens as probable as the word count as above it, so that ties are no success.
        rank = (p[:, 0] >= least).sum(-1)
        found |= {f"{name}@{k}": (rank <= k).mean() for k in TOP}
    return found


def _save(model: CacheModel, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        name: np.asarray(v[...]) for name, v in _flat(model).items()
    }
    np.savez(path, **arrays)


def _load(model: CacheModel, path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing: the arm it belongs to has to be run first")
    with np.load(path) as arrays:
        for name, variable in _flat(model).items():
            variable[...] = jnp.asarray(arrays[name])


def _flat(model: CacheModel) -> dict[str, nnx.Variable]:
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): variable for path, variable in params}
