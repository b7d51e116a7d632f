"""The narrow-head study: a word model whose logits are made of few numbers."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from softmax_jax.data import text
from softmax_jax.data.batches import Windows
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import supervised
from softmax_jax.evidence.studies.output_head import (
    OutputHead,
    in_float64,
    rank_metrics,
)
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import BlocksConfig
from softmax_jax.optim import OptimizerConfig

JUDGED = 16  # windows per call
LOOKED_AT = 512  # contexts, and most frequent words, whose rank is reported
_corpus = functools.cache(text.load)  # cut into words once for all arms and seeds


@dataclass(frozen=True)
class NarrowHeadConfig:
    """One arm of the narrow-head study.

    Attributes:
      link, components: of the head; see `OutputHead`.
      head_width: numbers that the logits of a layer or a component are made of.
      data: the text, and how many of its words are classes.
      width, layers, heads: of the Transformer before the head.
      sequence_length: words that are predicted in a row.
      steps, batch_size, optimizer: of the training.
    """

    link: str = "softmax"
    components: int | None = None
    head_width: int = 16
    data: text.TextConfig = text.TextConfig(level="words", vocabulary=2000)
    width: int = 64
    layers: int = 2
    heads: int = 2
    sequence_length: int = 32
    steps: int = 800
    batch_size: int = 16
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, weight_decay=0.0)


class NarrowModel(nnx.Module):
    """A causal Transformer and a head through which few numbers pass.

    The head is drawn last, so that models of the same seed share all before it.
    """

    def __init__(self, config: NarrowHeadConfig, words: int, *, rngs: nnx.Rngs):
        blocks = BlocksConfig(
            layers=config.layers, width=config.width, heads=config.heads
        )
        self.embed = nnx.Embed(words, config.width, rngs=rngs)
        self.blocks = make_blocks(blocks, rngs=rngs)
        self.norm = make_norm(blocks, rngs=rngs)
        self.head = OutputHead(
            config.width,
            config.head_width,
            words,
            config.link,
            config.components,
            bias=True,
            rngs=rngs,
        )

    def states(self, words: Array) -> Array:
        """What the head is given, [B, T, width]."""
        x, _ = run_blocks(self.blocks, self.embed(words), remat="none")
        return self.norm(x)

    def losses(self, rows: Array) -> Array:
        """-log p of every word of the rows but the first ones."""
        return self.head.losses(self.states(rows[:, :-1]), rows[:, 1:])


def run(config: NarrowHeadConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm and judges it on the test part.

    `test_loss` is in nats per word, `test_perplexity` is exp of it. `rank_metrics` are
    those of the most frequent words in the first contexts of the test part, which
    softmax's law bounds as it does the whole matrix.
    """
    corpus = _corpus(config.data)
    train, test = (
        jnp.asarray(windows(part, config.sequence_length))
        for part in (corpus.train, corpus.test)
    )
    model = NarrowModel(config, corpus.vocabulary, rngs=nnx.Rngs(seed))
    training_loss = float("nan")
    for _, loss in supervised.train(_objective, config, model, train, seed, label):
        training_loss = loss
    loss = judge(model, test)
    found = {"training_loss": training_loss, "test_loss": loss}
    found |= {"test_perplexity": float(np.exp(loss))}
    return Outcome(found | _rank(config, model, test))


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """All windows of a text, [n, length + 1]."""
    every = Windows(tokens, length)
    return np.stack([every[i] for i in range(len(every))])


def judge(model: NarrowModel, rows: Array) -> float:
    """The mean loss of the windows, of as many as fill whole calls."""
    graph, params = nnx.split(model)
    calls = len(rows) // JUDGED
    shaped = rows[: calls * JUDGED].reshape(calls, JUDGED, -1)
    return float(_mean_loss(graph, params, shaped))


@functools.partial(jax.jit, static_argnames="graph")
def _mean_loss(graph: nnx.GraphDef, params: Any, rows: Array) -> Array:
    model = nnx.merge(graph, params)
    return jax.lax.map(lambda some: model.losses(some).mean(), rows).mean()


def _objective(config: NarrowHeadConfig, model: NarrowModel, rows: Array) -> Array:
    return model.losses(rows).mean()


def _rank(
    config: NarrowHeadConfig, model: NarrowModel, rows: Array
) -> dict[str, float]:
    states = model.states(rows[: -(-LOOKED_AT // config.sequence_length), :-1])
    contexts = states.reshape(-1, config.width)[:LOOKED_AT]
    given = model.head.given(contexts)
    # Words are numbered by frequency; 0 stands for all that are not in the vocabulary.
    words = in_float64(given, config.link)[:, 1 : LOOKED_AT + 1]
    return rank_metrics(words, config.head_width, bias=True)
