"""AdamW or Muon, with warm-up, cosine decay, clipping and a rule for normalizers."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from softmax_jax.errors import UserError
from softmax_jax.optim.labels import labels
from softmax_jax.optim.muon import muon_and
from softmax_jax.optim.spikes import skip_spikes


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer's settings.

    Attributes:
      learning_rate: the peak, reached after `warmup` steps.
      warmup: steps of linear rise from zero.
      final_fraction: the share of the peak that the cosine ends at.
      weight_decay: decoupled, on matrices only.
      b1, b2: decay rates of Adam's two moments.
      clip: the largest global norm of the gradient.
      normalizer_learning_rate_factor: multiplies the learning rate of the normalizers'
        own parameters.
      name: "adamw", or "muon" for the matrices of the blocks and Adam for the rest.
      muon_beta: decay rate of Muon's momentum.
      skip_spikes: how many standard deviations above the mean of the last 128 norms a
        gradient's norm makes no step; None always makes one.
    """

    learning_rate: float = 1e-3
    warmup: int = 100
    final_fraction: float = 0.1
    weight_decay: float = 0.1
    b1: float = 0.9
    b2: float = 0.95
    clip: float = 1.0
    normalizer_learning_rate_factor: float = 1.0
    name: str = "adamw"
    muon_beta: float = 0.95
    skip_spikes: float | None = None

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "muon"):
            raise UserError(f"optimizer.name must be adamw or muon, got {self.name!r}")
        if self.skip_spikes is not None and not self.skip_spikes > 0:
            raise UserError(
                f"optimizer.skip_spikes must be above 0 or None, got {self.skip_spikes}"
            )


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear from 0 to the peak, half a cosine to its final fraction at `steps`."""
    if not 0 <= config.warmup < steps:
        raise UserError(
            f"optimizer.warmup={config.warmup} must lie in [0, {steps}), "
            "below the number of training steps."
        )
    peak = config.learning_rate
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, config.warmup, steps, peak * config.final_fraction
    )


def make_optimizer(
    config: OptimizerConfig, steps: int, params: Any
) -> optax.GradientTransformation:
    """The optimizer for `params`, an nnx state (its shapes are enough)."""
    kinds = labels(params)
    is_matrix = jax.tree.map(lambda kind: kind == "decay", kinds)
    is_normalizer = jax.tree.map(lambda kind: kind == "normalizer", kinds)
    factor = optax.scale(config.normalizer_learning_rate_factor)
    direction = optax.scale_by_adam(config.b1, config.b2)
    if config.name == "muon":
        direction = muon_and(direction, config.muon_beta, params)
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip),
        direction,
        optax.add_decayed_weights(config.weight_decay, is_matrix),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
        optax.masked(factor, is_normalizer),
    )
    if config.skip_spikes is not None:
        optimizer = skip_spikes(optimizer, config.skip_spikes)
    return _standard_promotion(optimizer)


def _standard_promotion(
    inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Optax mixes Python floats with integer counts, which strict promotion refuses."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)
