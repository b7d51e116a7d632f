"""The language-model study: train an arm on text, then probe what it learned."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softmax_jax.data import text
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import needle, positions
from softmax_jax.nn import NormalizerParam, Transformer, generate
from softmax_jax.training.config import RunConfig
from softmax_jax.training.loop import fit, load_model

METRICS = ("train_loss", "validation_loss", "validation_bits", "tokens_per_second")


@dataclass(frozen=True)
class LanguageModelConfig:
    """One arm of the language-model study.

    Attributes:
      run: model, data, optimizer and training; the seed is set by the experiment.
      parameters_from: another arm whose trained model is judged with this normalizer.
      switch_from, switch_at: trains with another normalizer up to this share of the
        steps, then goes on with that of `run`.
      contexts: judged at these multiples of the training length.
      theta_factors: the RoPE thetas of the judgement, as multiples of the trained one.
      rows: texts per context; 0 leaves the probes out.
      sample_length: tokens of the generated sample.
    """

    run: RunConfig
    parameters_from: str | None = None
    switch_from: str | None = None
    switch_at: float = 0.9
    contexts: tuple[int, ...] = (1, 2, 4, 8)
    theta_factors: tuple[int, ...] = (1, 50)
    rows: int = 0
    sample_length: int = 300


def run(config: LanguageModelConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm, or takes another arm's parameters, and probes it.

    Metrics are those of the training and, with probes, `loss@Kx`, `needle_loss@Kx`,
    `needle_accuracy@Kx` and `needle_weight@Kx` for a context of K training lengths,
    with `_thetaF` at the end where theta was multiplied by F.
    """
    metrics: dict[str, float] = {}
    if config.parameters_from is None:
        model, metrics = _train(config, seed, folder, label)
    else:
        other = folder.parents[1] / config.parameters_from / folder.name / "run"
        model = rebuilt(load_model(other), normalizer=config.run.model.normalizer)
    if config.rows:
        metrics |= _probe(model, config, seed)
    return Outcome(metrics, _sample(model, config, seed))


def rebuilt(model: Transformer, **changes: Any) -> Transformer:
    """The same weights in a model of a changed configuration.

    A new normalizer starts with its own parameters, those of its spec.
    """
    changed = Transformer(
        dataclasses.replace(model.config, **changes), rngs=nnx.Rngs(0)
    )
    kept = nnx.Param
    if "normalizer" in changes:
        kept = nnx.All(nnx.Param, nnx.Not(nnx.OfType(NormalizerParam)))
    nnx.update(changed, nnx.state(model, kept))
    return changed


def _train(
    config: LanguageModelConfig, seed: int, folder: Path, label: str
) -> tuple[Transformer, dict[str, float]]:
    training = dataclasses.replace(config.run.training, seed=seed)
    if config.switch_from is not None:
        before = dataclasses.replace(
            config.run,
            model=dataclasses.replace(config.run.model, normalizer=config.switch_from),
            training=dataclasses.replace(
                training, stop_step=round(config.switch_at * training.steps)
            ),
        )
        _completed(before, folder / "before", f"{label} before the switch")
        training = dataclasses.replace(training, start_from=str(folder / "before"))
    whole = dataclasses.replace(config.run, training=training)
    model, metrics = _completed(whole, folder / "run", label)
    return model, {name: metrics[name] for name in METRICS if name in metrics}


def _completed(
    config: RunConfig, folder: Path, label: str
) -> tuple[Transformer, dict[str, float]]:
    result = fit(config, folder, label=label)
    if not result.completed:
        raise KeyboardInterrupt
    return result.model, result.metrics


def _probe(
    model: Transformer, config: LanguageModelConfig, seed: int
) -> dict[str, float]:
    corpus = text.load(config.run.data)
    length = config.run.training.sequence_length
    theta = model.config.rope_theta
    has_rope = model.config.positions == "rope"
    metrics = {}
    for factor in config.theta_factors if has_rope else (1,):
        probed = rebuilt(model, rope_theta=theta * factor) if factor != 1 else model
        end = f"_theta{factor}" if factor != 1 else ""
        for context in config.contexts:
            found = positions.loss(probed, corpus.test, length, context, config.rows)
            if config.run.data.level == "bytes":
                task = needle.make(corpus.test, context * length, config.rows, seed)
                found |= needle.judge(probed, task)
            metrics |= {f"{name}@{context}x{end}": x for name, x in found.items()}
    return metrics


def _sample(model: Transformer, config: LanguageModelConfig, seed: int) -> str:
    """Text that goes on from the beginning of the validation part."""
    if not config.sample_length:
        return ""
    corpus = text.load(config.run.data)
    length = min(32, config.run.training.sequence_length, len(corpus.validation))
    if length == 0:
        raise UserError("the validation part is empty: there is nothing to go on from")
    prompt = jnp.asarray(corpus.validation[None, :length].astype(np.int32))
    key = jax.random.key(seed)
    tokens = generate(model, prompt, config.sample_length, key=key, temperature=0.8)
    return corpus.codec.decode(np.asarray(tokens[0]))
