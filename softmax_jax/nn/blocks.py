"""The block that every model here is a stack of, and how a stack is run."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from softmax_jax.errors import UserError
from softmax_jax.nn.attention import (
    Attended,
    Attention,
    Cache,
    CrossAttention,
    Memory,
)
from softmax_jax.nn.config import BlocksConfig
from softmax_jax.normalizers.base import Normalizer


class MLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: BlocksConfig, *, rngs: nnx.Rngs):
        project = dict(use_bias=False, dtype=jnp.dtype(config.dtype), rngs=rngs)
        self.gate = nnx.Linear(config.width, config.mlp_width_, **project)
        self.up = nnx.Linear(config.width, config.mlp_width_, **project)
        self.down = nnx.Linear(config.mlp_width_, config.width, **project)

    def __call__(self, x: Array) -> Array:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class PlainMLP(nnx.Module):
    """down(relu(up(x))) or down(gelu(up(x))), with biases and the exact gelu."""

    def __init__(self, config: BlocksConfig, *, rngs: nnx.Rngs):
        project = dict(dtype=jnp.dtype(config.dtype), rngs=rngs)
        self.activation = config.mlp
        self.up = nnx.Linear(config.width, config.mlp_width_, **project)
        self.down = nnx.Linear(config.mlp_width_, config.width, **project)

    def __call__(self, x: Array) -> Array:
        hidden = self.up(x)
        if self.activation == "relu":
            return self.down(jax.nn.relu(hidden))
        return self.down(jax.nn.gelu(hidden, approximate=False))


class Block(nnx.Module):
    """x + attention(norm(x)), x + cross(norm(x), memory) if any, x + mlp(norm(x))."""

    def __init__(
        self,
        config: BlocksConfig,
        normalizer: str | Normalizer,
        *,
        causal: bool = True,
        cross: str | Normalizer | None = None,
        rngs: nnx.Rngs,
    ):
        self.attention_norm = make_norm(config, rngs=rngs)
        self.attention = Attention(config, normalizer, causal=causal, rngs=rngs)
        if cross is None:
            self.cross = None
        else:
            self.cross_norm = make_norm(config, rngs=rngs)
            self.cross = CrossAttention(config, cross, rngs=rngs)
        self.mlp_norm = make_norm(config, rngs=rngs)
        self.mlp = (MLP if config.mlp == "gated" else PlainMLP)(config, rngs=rngs)

    def __call__(
        self,
        x: Array,
        start: Array,
        *,
        memory: Memory | None = None,
        segment_ids: Array | None = None,
        return_weights: bool = False,
        **options,
    ) -> Attended:
        if (self.cross is None) != (memory is None):
            needed = "needs" if memory is None else "takes no"
            raise UserError(f"this block {needed} memory")
        both = dict(segment_ids=segment_ids, return_weights=return_weights)
        attended = self.attention(self.attention_norm(x), start, **both, **options)
        x = x + attended.output
        if self.cross is not None and memory is not None:
            output, weights = self.cross(self.cross_norm(x), memory, **both)
            x, attended = x + output, attended._replace(cross_weights=weights)
        return attended._replace(output=x + self.mlp(self.mlp_norm(x)))


def make_norm(config: BlocksConfig, *, rngs: nnx.Rngs) -> nnx.RMSNorm | nnx.LayerNorm:
    """The norm that the configuration names, over the width of the model."""
    kind = nnx.RMSNorm if config.norm == "rms" else nnx.LayerNorm
    return kind(config.width, dtype=jnp.dtype(config.dtype), rngs=rngs)


def make_blocks(
    config: BlocksConfig,
    *,
    causal: bool = True,
    cross: Sequence[str | Normalizer] | None = None,
    rngs: nnx.Rngs,
) -> list[Block]:
    """One block per layer; `cross` holds the normalizers of their cross-attention."""
    to_memory = [None] * config.layers if cross is None else cross
    pairs = zip(config.normalizers, to_memory, strict=True)
    return [Block(config, own, causal=causal, cross=to, rngs=rngs) for own, to in pairs]


def run_blocks(
    blocks: Sequence[Block],
    x: Array,
    *,
    remat: bool,
    start: Array | int = 0,
    caches: Sequence[Cache] | None = None,
    memory: Memory | Sequence[Memory] | None = None,
    **options: Any,
) -> tuple[Array, list[Attended]]:
    """The last output, and what each block gave back.

    `memory` is one for all blocks, or one for each.
    """
    start = jnp.asarray(start, jnp.int32)
    layers = []
    for i, block in enumerate(blocks):
        own = dict(
            cache=None if caches is None else caches[i],
            memory=memory[i] if isinstance(memory, Sequence) else memory,
        )
        call = _recomputed if remat else Block.__call__
        layers.append(call(block, x, start, **own, **options))
        x = layers[-1].output
    return x, layers


def _recomputed(block: Block, x: Array, start: Array, **options: Any) -> Attended:
    """The block, computed again in the backward pass."""
    graphdef, state = nnx.split(block)

    @jax.checkpoint
    def recomputed(state, x):
        return nnx.merge(graphdef, state)(x, start, **options)

    return recomputed(state, x)
