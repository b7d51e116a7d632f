"""No step where the gradient is far larger than the gradients before it were."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# Norms that are looked back on; the first half of them decides nothing.
WINDOW = 128


class SpikeState(NamedTuple):
    """The last norms, at position step % WINDOW, and how often there was no step."""

    norms: jax.Array
    steps: jax.Array
    skipped: jax.Array
    inner: Any


def skip_spikes(
    inner: optax.GradientTransformation, deviations: float
) -> optax.GradientTransformation:
    """`inner`, but nothing where |g| > mean + deviations * std of the last norms.

    Neither the parameters nor the state of `inner` change then, its count of steps
    included. The norm is noted all the same: a level that stays is no spike for long.
    One that is not finite counts as no spike, for the run to see it.

    After the SkipStepOptimizer of OLMo-core, which looks at the loss too:
    https://github.com/allenai/OLMo-core.
    """

    def init(params: Any) -> SpikeState:
        zero = jnp.zeros((), jnp.int32)
        return SpikeState(jnp.zeros(WINDOW), zero, zero, inner.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        norm = optax.tree.norm(updates)
        spike = _stands_out(norm, state, deviations)
        changes, after = inner.update(updates, state.inner, params)
        changes = jax.tree.map(lambda x: jnp.where(spike, 0, x), changes)
        kept = jax.tree.map(
            lambda old, new: jnp.where(spike, old, new), state.inner, after
        )
        norms = state.norms.at[state.steps % WINDOW].set(norm)
        skipped = state.skipped + spike.astype(jnp.int32)
        return changes, SpikeState(norms, state.steps + 1, skipped, kept)

    return optax.GradientTransformation(init, update)


def _stands_out(norm: jax.Array, state: SpikeState, deviations: float) -> jax.Array:
    noted = jnp.arange(WINDOW) < jnp.maximum(state.steps, 1)
    mean, std = state.norms.mean(where=noted), state.norms.std(where=noted)
    enough = state.steps >= WINDOW // 2
    return enough & jnp.isfinite(norm) & (norm > mean + deviations * std)
