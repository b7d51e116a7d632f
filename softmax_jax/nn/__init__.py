"""Flax NNX modules: they hold parameters, and nothing else."""

from softmax_jax.nn.generate import generate
from softmax_jax.nn.learned import (
    LearnedAttentionFn,
    LearnedNormalizer,
    LinenLearnedAttentionFn,
    NormalizerParam,
)
from softmax_jax.nn.transformer import Transformer, TransformerConfig, attention_weights

__all__ = [
    "LearnedAttentionFn",
    "LearnedNormalizer",
    "LinenLearnedAttentionFn",
    "NormalizerParam",
    "Transformer",
    "TransformerConfig",
    "attention_weights",
    "generate",
]
