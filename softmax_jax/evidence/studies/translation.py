"""The translation study: an encoder-decoder whose alignments are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from softmax_jax.analysis import alignment, diversity, support
from softmax_jax.data import translation_toy as toy
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import supervised
from softmax_jax.evidence.studies.translation_model import EncoderDecoder, Weights
from softmax_jax.optim import OptimizerConfig


@dataclass(frozen=True)
class TranslationConfig:
    """One arm of the translation study.

    Attributes:
      normalizer: of every attention: encoder, decoder, and from one to the other.
      output_norm: what attention gives passes through it: "rms", "small_gain" (ReLA-i),
        "gated" (ReLA-g) or None.
      layers, width, heads: of encoder and decoder each.
      words: of the source language; the target has twice as many, and the end.
      shortest, longest: numbers of source words in a sentence.
      sentences, judged: numbers of sentences to train on and to judge with.
      steps, batch_size, optimizer: of the training.
    """

    normalizer: str = "softmax"
    output_norm: str | None = None
    layers: int = 2
    width: int = 64
    heads: int = 4
    words: int = 32
    shortest: int = 4
    longest: int = 8
    sentences: int = 65536
    judged: int = 512
    steps: int = 800
    batch_size: int = 32
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.05)

    @property
    def symbols(self) -> int:
        """The target words and the end."""
        return 2 * self.words + 1


def run(config: TranslationConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm on sentences of a language of this seed and judges it on others.

    Metrics: `accuracy` of the next target word given the true ones before it;
    `sentences_right`, the share of sentences with no error, which are also those that
    greedy decoding gets right; what `examined` finds; the last `training_loss`.
    """
    model = EncoderDecoder(config, rngs=nnx.Rngs(params=seed, output_norm=seed))
    training, judged = _sentences(config, seed)
    chunks = supervised.train(objective, config, model, training, seed, label)
    losses = [loss for _, loss in chunks]
    found = _judge(*nnx.split(model), judged)
    metrics = {name: float(value) for name, value in found.items()}
    return Outcome({"training_loss": losses[-1]} | metrics)


def objective(
    config: TranslationConfig, model: EncoderDecoder, batch: toy.TranslationBatch
) -> jax.Array:
    """The mean loss of the target words and ends, in nats."""
    logits, _ = model(batch.source, batch.source_visible, batch.inputs)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    return losses.mean(where=batch.target_visible)


def _sentences(
    config: TranslationConfig, seed: int
) -> tuple[toy.TranslationBatch, toy.TranslationBatch]:
    """Sentences to train on and others to judge with, of one language."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), 3)
    spoken = toy.language(keys[0], config.words)
    draw = jax.jit(toy.batch, static_argnums=(2, 3, 4))
    lengths = (config.shortest, config.longest)
    training = draw(keys[1], spoken, config.sentences, *lengths)
    return training, draw(keys[2], spoken, config.judged, *lengths)


@partial(jax.jit, static_argnames="graph")
def _judge(
    graph: nnx.GraphDef, params: Any, batch: toy.TranslationBatch
) -> Mapping[str, jax.Array]:
    model = nnx.merge(graph, params)
    logits, weights = model(batch.source, batch.source_visible, batch.inputs)
    right = logits.argmax(-1) == batch.targets
    whole = (right | ~batch.target_visible).all(-1)
    return {
        "accuracy": right.mean(where=batch.target_visible),
        "sentences_right": whole.mean(),
        **examined(weights, batch),
    }


def examined(weights: Weights, batch: toy.TranslationBatch) -> dict[str, jax.Array]:
    """What the weights look like; `x@cross` is x of the attention to the source.

    `sparsity@`, `null_rate@` and `head_diversity@` are means over layers, and the words
    `encoder`, `decoder` and `cross` say of which attention. `aer_normal@l` and
    `aer_shifted@l` are alignment errors of layer l with the mean of its heads, `_best_`
    with its best head. `aer` and `aer_best_head` are the least of all these.
    """
    source, target = batch.source_visible, batch.target_visible
    steps = target.shape[-1]
    causal = jnp.tril(jnp.ones((steps, steps), bool))[None]
    seen = {
        "encoder": source[:, :, None] & source[:, None],
        "decoder": target[:, :, None] & causal,
        "cross": target[:, :, None] & source[:, None],
    }
    found = {}
    for place, visible in seen.items():
        layers = jnp.stack(getattr(weights, place))
        counted = jnp.broadcast_to(visible.any(-1), (len(layers), *visible.shape[:-1]))
        among = visible[None, :, None]
        found[f"sparsity@{place}"] = support.sparsity_rate(layers, among)
        found[f"null_rate@{place}"] = support.null_rate(layers, among)
        found[f"head_diversity@{place}"] = diversity.head_diversity(layers, counted)
    return found | _alignment_errors(weights.cross, batch.alignment)


def _alignment_errors(
    layers: tuple[jax.Array, ...], known: jax.Array
) -> dict[str, jax.Array]:
    words = known.any(-1)[..., None]  # rows behind the last word have no link
    means, heads = {}, {}

    def error(weights: jax.Array) -> jax.Array:
        links = alignment.aligned(weights) & words
        return alignment.alignment_error_rate(links, known)

    for number, weights in enumerate(layers, start=1):
        readings = alignment.normal_and_shifted(weights)
        for name, rows in zip(("normal", "shifted"), readings, strict=True):
            means[f"aer_{name}@{number}"] = error(rows.mean(1))
            best = jax.vmap(error, in_axes=1)(rows).min()
            heads[f"aer_best_{name}@{number}"] = best
    least = {
        "aer": jnp.stack(list(means.values())).min(),
        "aer_best_head": jnp.stack(list(heads.values())).min(),
    }
    return least | means | heads
