"""Self-attention with any normalizer: projections, positions, heads, cache."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from softmax_jax.attention.api import dot_product_attention
from softmax_jax.catalogue import parse_query_scale
from softmax_jax.nn.adaptive_scale import AdaptiveScale
from softmax_jax.nn.learned import LearnedNormalizer, LearnedQueryScale
from softmax_jax.nn.output import (
    GatedRMSNorm,
    OutputGate,
    OutputRMSNorm,
    SmallGainRMSNorm,
)
from softmax_jax.nn.rope import rotate
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.length import AdaptiveLength

OUTPUT_NORMS = {
    "rms": OutputRMSNorm,
    "small_gain": SmallGainRMSNorm,
    "gated": GatedRMSNorm,
}


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


class Attended(NamedTuple):
    """What attention gives back; what was not asked for is None."""

    output: Array
    cache: Cache | None
    weights: Array | None


class Attention(nnx.Module):
    """Causal multi-head self-attention, grouped where kv_heads < heads."""

    def __init__(self, config, normalizer: str | Normalizer, *, rngs: nnx.Rngs):
        self.config = config
        width, head_width = config.width, config.head_width_
        project = dict(use_bias=False, dtype=jnp.dtype(config.dtype), rngs=rngs)
        heads, kv_heads = (config.heads, head_width), (config.kv_heads_, head_width)
        self.query = nnx.LinearGeneral(width, heads, **project)
        self.key = nnx.LinearGeneral(width, kv_heads, **project)
        self.value = nnx.LinearGeneral(width, kv_heads, **project)
        self.out = nnx.LinearGeneral(heads, width, axis=(-2, -1), **project)
        self.normalizer = LearnedNormalizer(
            normalizer, heads=config.heads, learned=config.learned
        )
        if config.qk_norm:
            norm = dict(dtype=jnp.dtype(config.dtype), rngs=rngs)
            self.query_norm = nnx.RMSNorm(head_width, **norm)
            self.key_norm = nnx.RMSNorm(head_width, **norm)
        self.query_scale = _query_scale(config, rngs)
        if config.output_norm is not None:
            norm_kind = OUTPUT_NORMS[config.output_norm]
            self.output_norm = norm_kind(config.heads * head_width, rngs=rngs)
        if config.output_gate:
            self.output_gate = OutputGate(width, config.heads, head_width, rngs=rngs)

    def __call__(
        self,
        x: Array,
        start: Array,
        *,
        segment_ids: Array | None = None,
        cache: Cache | None = None,
        return_weights: bool = False,
    ) -> Attended:
        """[B, T, width] of x [B, T, width], whose first position is `start`."""
        config = self.config
        query, key, value = self.query(x), self.key(x), self.value(x)
        if config.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if config.positions == "rope":
            positions = (start + jnp.arange(x.shape[1], dtype=jnp.int32))[None]
            query = rotate(query, positions, config.rope_theta)
            key = rotate(key, positions, config.rope_theta)
        if cache is not None:
            cache = cache.write(key, value, start)
            key, value = cache.key, cache.value
        attended = dot_product_attention(
            query,
            key,
            value,
            normalizer=self.normalizer(),
            is_causal=True,
            segment_ids=segment_ids,
            query_offset=0 if cache is None else start,
            logits_soft_cap=config.logits_soft_cap,
            query_scale=None if self.query_scale is None else self.query_scale(x),
            implementation=config.implementation,
            return_weights=return_weights,
        )
        output, weights = attended if isinstance(attended, tuple) else (attended, None)
        if config.output_norm is not None:
            output = self.output_norm(output)
        if config.output_gate:
            output = self.output_gate(output, x)
        return Attended(self.out(output), cache, weights)


def _query_scale(config, rngs: nnx.Rngs) -> AdaptiveScale | LearnedQueryScale | None:
    """Read off each token if it is ASEntmax's, else learned as its class declares."""
    if config.query_scale is None:
        return None
    chosen = parse_query_scale(config.query_scale)
    if isinstance(chosen, AdaptiveLength):
        return AdaptiveScale(config.width, config.heads, rngs=rngs)
    return LearnedQueryScale(chosen, heads=config.heads)
