"""How log n was found: attention with one free multiplier per context size."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import softmax_jax as sj
from softmax_jax.data import batches, text
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.nn import NormalizerParam
from softmax_jax.optim import make_optimizer
from softmax_jax.training.config import RunConfig, filled_in
from softmax_jax.training.progress import progress_bar
from softmax_jax.training.tasks.language_model import Objective


@dataclass(frozen=True)
class DiscoveryConfig:
    """A run whose normalizer is replaced, and the least n that the fit looks at."""

    run: RunConfig
    least_n: int = 4


class FreeMultiplier(nnx.Module):
    """softmax((s p_n + b) z) with a table p shared by all layers and heads.

    It starts as softmax: p = s = 1, b = 0.
    """

    def __init__(self, table: NormalizerParam, heads: int):
        self.table = table
        self.scale = NormalizerParam(jnp.ones(heads))
        self.bias = NormalizerParam(jnp.zeros(heads))

    def __call__(self) -> sj.Normalizer:
        """SSMax whose bias, one per row and head, is the whole multiplier."""
        rows = self.table[...][:, None] * self.scale[...][None] + self.bias[...][None]
        return sj.SSMax(scale=0.0, bias=rows[None])


def run(config: DiscoveryConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains with free multipliers and fits p_n = a log n + c.

    Metrics are `r_squared`, `slope`, `intercept` and the last `training_loss`; the
    table is left in `multipliers.npy`.
    """
    corpus = text.load(config.run.data)
    whole = filled_in(config.run, vocabulary=corpus.vocabulary)
    # Every layer is given a module of its own.
    whole = dataclasses.replace(
        whole, model=dataclasses.replace(whole.model, scan=False)
    )
    training = dataclasses.replace(whole.training, seed=seed)
    objective = Objective(whole)
    model = objective.model(nnx.Rngs(seed))
    table = NormalizerParam(jnp.ones(training.sequence_length))
    blocks: Any = model.blocks
    for block in blocks:
        free: Any = FreeMultiplier(table, whole.model.heads)
        block.attention.normalizer = free
    graph, params = nnx.split(model, nnx.Param)
    optimizer = make_optimizer(whole.optimizer, training.steps, params)
    state = (params, optimizer.init(params))
    stream = batches.train_batches(
        corpus.train, training.sequence_length, training.batch_size, seed
    )
    step = jax.jit(partial(_step, objective, graph, optimizer), donate_argnums=0)
    loss = jnp.zeros(())
    with progress_bar(training.steps, label) as bar:
        for number in range(1, training.steps + 1):
            state, loss = step(state, jnp.asarray(next(stream)))
            bar.update()
            if number % training.log_every == 0:
                bar.update(0, loss=f"{float(loss):.4f}")
    nnx.update(model, state[0])
    multipliers = np.asarray(table[...])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "multipliers.npy", multipliers)
    return Outcome(
        fit_log(multipliers, config.least_n) | {"training_loss": float(loss)}
    )


def fit_log(multipliers: np.ndarray, least_n: int) -> dict[str, float]:
    """Least squares of p_n = slope log n + intercept over n >= least_n, n from 1."""
    n = np.arange(least_n, len(multipliers) + 1)
    p = np.asarray(multipliers, np.float64)[least_n - 1 :]
    slope, intercept = np.polyfit(np.log(n), p, 1)
    residual = p - slope * np.log(n) - intercept
    r_squared = 1 - residual.var() / p.var() if p.var() else 0.0
    return {
        "r_squared": float(r_squared),
        "slope": float(slope),
        "intercept": float(intercept),
    }


def _step(
    objective: Objective,
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    state: tuple[Any, Any],
    tokens: Array,
) -> tuple[tuple[Any, Any], Array]:
    params, opt_state = state

    def mean_loss(params: Any) -> Array:
        sums = objective.sums(nnx.merge(graph, params), tokens, None)
        return sums["loss"] / sums["count"].astype(jnp.float32)

    loss, gradient = jax.value_and_grad(mean_loss)(params)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss
