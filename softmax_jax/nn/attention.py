"""Attention with any normalizer: projections, positions, heads, cache."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from softmax_jax.attention.api import dot_product_attention
from softmax_jax.attention.partition import Partition, positions
from softmax_jax.catalogue import parse_query_scale
from softmax_jax.errors import UserError
from softmax_jax.nn.adaptive_scale import AdaptiveScale
from softmax_jax.nn.config import BlocksConfig
from softmax_jax.nn.learned import LearnedNormalizer, LearnedQueryScale
from softmax_jax.nn.output import OUTPUT_NORMS, OutputGate
from softmax_jax.nn.rope import rotate
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.length import AdaptiveLength


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values [B, capacity, K, D] of one layer, written up to a position."""

    key: Array
    value: Array

    def write(self, key: Array, value: Array, start: Array) -> "Cache":
        """With the new keys and values written at position `start`."""
        put = jax.lax.dynamic_update_slice_in_dim
        return Cache(put(self.key, key, start, 1), put(self.value, value, start, 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """What cross-attention looks at, and what of it may be seen.

    `states` are [B, S, width], or the keys and values that one layer makes of them.
    What lies beyond `lengths` [B] is padding; with `segment_ids` [B, S] a query sees
    its own segment alone.
    """

    states: Array | Cache
    lengths: Array | None = None
    segment_ids: Array | None = None


class Attended(NamedTuple):
    """What a layer gives back; what was not asked for is None."""

    output: Array
    cache: Any  # Cache; of a head with a memory StateCache
    weights: Array | None
    cross_weights: Array | None = None


class _Heads(nnx.Module):
    """Projections to heads and back, the normalizer, and what stands around it."""

    def __init__(
        self, config: BlocksConfig, normalizer: str | Normalizer, *, rngs: nnx.Rngs
    ):
        self.config = config
        width, head_width = config.width, config.head_width_
        dtype = jnp.dtype(config.dtype)
        project = dict(use_bias=config.attention_bias, dtype=dtype, rngs=rngs)
        heads, kv_heads = (config.heads, head_width), (config.kv_heads_, head_width)
        self.query = nnx.LinearGeneral(width, heads, **project)
        self.key = nnx.LinearGeneral(width, kv_heads, **project)
        self.value = nnx.LinearGeneral(width, kv_heads, **project)
        self.out = nnx.LinearGeneral(heads, width, axis=(-2, -1), **project)
        self.normalizer = LearnedNormalizer(
            normalizer, heads=config.heads, learned=config.learned
        )
        if config.qk_norm:
            norm = dict(dtype=dtype, rngs=rngs)
            self.query_norm = nnx.RMSNorm(head_width, **norm)
            self.key_norm = nnx.RMSNorm(head_width, **norm)
        self.query_scale = _query_scale(config, rngs)
        if config.output_norm is not None:
            # From a stream of their own, if there is one, norms draw nothing that would
            # change the other initial parameters.
            own = nnx.Rngs(rngs.output_norm()) if "output_norm" in rngs else rngs
            norm_kind = OUTPUT_NORMS[config.output_norm]
            self.output_norm = norm_kind(config.heads * head_width, rngs=own)
        if config.output_gate:
            self.output_gate = OutputGate(width, config.heads, head_width, rngs=rngs)

    def queries(self, x: Array) -> Array:
        """[B, T, H, D] of x [B, T, width]."""
        query = self.query(x)
        return self.query_norm(query) if self.config.qk_norm else query

    def keys_and_values(self, x: Array) -> tuple[Array, Array]:
        """[B, S, K, D] each, of x [B, S, width]."""
        key, value = self.key(x), self.value(x)
        return self.key_norm(key) if self.config.qk_norm else key, value

    def attend(
        self, x: Array, query: Array, key: Array, value: Array, **options
    ) -> tuple[Array, Array | None]:
        """[B, T, width] and, if asked for, the weights; x is what `query` is made of.

        The options are those of `dot_product_attention`.
        """
        config = self.config
        attended = dot_product_attention(
            query,
            key,
            value,
            normalizer=self.normalizer(),
            logits_soft_cap=config.logits_soft_cap,
            query_scale=None if self.query_scale is None else self.query_scale(x),
            implementation=config.implementation,
            **options,
        )
        output, weights = attended if isinstance(attended, tuple) else (attended, None)
        if config.output_norm is not None:
            output = self.output_norm(output)
        if config.output_gate:
            output = self.output_gate(output, x)
        return self.out(output), weights


class Attention(_Heads):
    """Multi-head self-attention, grouped where kv_heads < heads."""

    def __init__(
        self,
        config: BlocksConfig,
        normalizer: str | Normalizer,
        *,
        causal: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(config, normalizer, rngs=rngs)
        self.causal = causal

    def __call__(
        self,
        x: Array,
        start: Array,
        *,
        segment_ids: Array | None = None,
        lengths: Array | None = None,
        cache: Cache | None = None,
        return_weights: bool = False,
        partition: Partition | None = None,
    ) -> Attended:
        """[B, T, width] of x [B, T, width], whose first position is `start`.

        What lies beyond `lengths` [B] is padding; nothing sees it. `partition` is that
        of `dot_product_attention`.
        """
        query, (key, value) = self.queries(x), self.keys_and_values(x)
        if self.config.positions == "rope":
            places = (start + positions(x.shape[1], partition))[None]
            query = rotate(query, places, self.config.rope_theta)
            key = rotate(key, places, self.config.rope_theta)
        if cache is not None:
            if partition is not None and partition.balanced:
                raise UserError("a cache holds its keys in their natural order")
            cache = cache.write(key, value, start)
            key, value = cache.key, cache.value
        output, weights = self.attend(
            x,
            query,
            key,
            value,
            is_causal=self.causal,
            segment_ids=segment_ids,
            key_value_seq_lengths=lengths,
            query_offset=0 if cache is None else start,
            return_weights=return_weights,
            partition=partition,
        )
        return Attended(output, cache, weights)


class CrossAttention(_Heads):
    """Attention from one sequence to another; positions do not enter the scores."""

    def remember(self, memory: Memory) -> Memory:
        """The memory as keys and values, for calls that share it."""
        return dataclasses.replace(memory, states=self._cache(memory.states))

    def _cache(self, states: Array | Cache) -> Cache:
        if isinstance(states, Cache):
            return states
        return Cache(*self.keys_and_values(states))

    def __call__(
        self,
        x: Array,
        memory: Memory,
        *,
        segment_ids: Array | None = None,
        return_weights: bool = False,
        partition: Partition | None = None,
    ) -> tuple[Array, Array | None]:
        """[B, T, width] of x [B, T, width], and the weights [B, H, T, S] or None."""
        cache, segments = self._cache(memory.states), memory.segment_ids
        if segments is not None and segment_ids is None:
            raise UserError("segment_ids are given for the memory but not for x")
        return self.attend(
            x,
            self.queries(x),
            cache.key,
            cache.value,
            segment_ids=None if segments is None else (segment_ids, segments),
            key_value_seq_lengths=memory.lengths,
            query_offset=0,
            return_weights=return_weights,
            partition=partition,
        )


def _query_scale(
    config: BlocksConfig, rngs: nnx.Rngs
) -> AdaptiveScale | LearnedQueryScale | None:
    """Read off each token if it is ASEntmax's, else learned as its class declares."""
    if config.query_scale is None:
        return None
    chosen = parse_query_scale(config.query_scale)
    if isinstance(chosen, AdaptiveLength):
        return AdaptiveScale(config.width, config.heads, rngs=rngs)
    return LearnedQueryScale(chosen, heads=config.heads)
