"""The block that every model here is a stack of, and how a stack is run."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from softmax_jax.attention.partition import Partition
from softmax_jax.errors import UserError
from softmax_jax.nn.attention import (
    Attended,
    Attention,
    CrossAttention,
    Memory,
)
from softmax_jax.nn.config import BlocksConfig
from softmax_jax.normalizers.base import Normalizer

# What `remat` saves of a block: its input alone, or products with kernels too. These
# have no batch axes; scores and weighted values have, and are computed again.
POLICIES = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


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
        partition: Partition | None = None,
        **options,
    ) -> Attended:
        if (self.cross is None) != (memory is None):
            needed = "needs" if memory is None else "takes no"
            raise UserError(f"this block {needed} memory")
        both = dict(
            segment_ids=segment_ids, return_weights=return_weights, partition=partition
        )
        attended = self.attention(self.attention_norm(x), start, **both, **options)
        x = x + attended.output
        if self.cross is not None and memory is not None:
            output, weights = self.cross(self.cross_norm(x), memory, **both)
            x, attended = x + output, attended._replace(cross_weights=weights)
        return attended._replace(output=x + self.mlp(self.mlp_norm(x)))


# One for each layer, or one whose parameters have the layers as leading axis.
Blocks = Sequence[Block] | Block


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
) -> Blocks:
    """One block per layer; `cross` holds the normalizers of their cross-attention.

    With `scan` they are drawn alike and then stacked.
    """
    to_memory = [None] * config.layers if cross is None else cross
    pairs = zip(config.normalizers, to_memory, strict=True)
    blocks = [
        Block(config, own, causal=causal, cross=to, rngs=rngs) for own, to in pairs
    ]
    if not config.scan:
        return nnx.List(blocks)
    states = [nnx.state(block) for block in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return nnx.merge(nnx.graphdef(blocks[0]), stacked)


def each_block(blocks: Blocks) -> Sequence[Block]:
    """The block of every layer, stacked or not."""
    if not isinstance(blocks, Block):
        return blocks
    graphdef, state = nnx.split(blocks)
    return [nnx.merge(graphdef, own) for own in _each(state)]


def run_blocks(
    blocks: Blocks,
    x: Array,
    *,
    remat: str,
    start: Array | int = 0,
    caches: Sequence[Any] | None = None,  # of the blocks, then others
    memory: Memory | Sequence[Memory] | None = None,
    return_weights: bool = False,
    **options: Any,
) -> tuple[Array, list[Attended]]:
    """The last output, and what each block gave back.

    `memory` is one for all blocks, or one for each.
    """
    start = jnp.asarray(start, jnp.int32)
    alike = caches is None and not isinstance(memory, Sequence) and not return_weights
    if isinstance(blocks, Block) and alike:
        return _scan(blocks, x, start, remat, memory=memory, **options)
    layers = []
    for i, block in enumerate(each_block(blocks)):
        own = dict(
            cache=None if caches is None else caches[i],
            memory=memory[i] if isinstance(memory, Sequence) else memory,
            return_weights=return_weights,
        )
        layers.append(_run(block, x, start, remat, **own, **options))
        x = layers[-1].output
    return x, layers


def _scan(
    blocks: Block, x: Array, start: Array, remat: str, **options: Any
) -> tuple[Array, list[Attended]]:
    """All layers as one loop over their stacked parameters."""
    graphdef, state = nnx.split(blocks)

    def layer(x: Array, state: Any) -> tuple[Array, Attended]:
        block = nnx.merge(graphdef, state)
        attended = _run(block, x, start, remat, in_loop=True, **options)
        return attended.output, attended

    x, layers = jax.lax.scan(layer, x, state)
    return x, _each(layers)


def _run(
    block: Block,
    x: Array,
    start: Array,
    remat: str,
    in_loop: bool = False,
    **options: Any,
) -> Attended:
    """The block; in the backward pass, what is not saved is computed again."""
    if remat == "none":
        return block(x, start, **options)
    graphdef, state = nnx.split(block)

    def run(state: Any, x: Array) -> Attended:
        return nnx.merge(graphdef, state)(x, start, **options)

    # XLA would merge both computations, unless they stand in two loops.
    run = jax.checkpoint(run, policy=POLICIES[remat], prevent_cse=not in_loop)
    return run(state, x)


def _each(stacked: Any) -> list[Any]:
    """The tree of every layer, of one tree with the layers as leading axis."""
    layers = len(jax.tree.leaves(stacked)[0])
    return [jax.tree.map(operator.itemgetter(i), stacked) for i in range(layers)]
