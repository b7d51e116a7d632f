"""Flax NNX modules: they hold parameters, and nothing else."""

from softmax_jax.nn.adaptive_scale import AdaptiveScale
from softmax_jax.nn.generate import generate
from softmax_jax.nn.learned import (
    LearnedAttentionFn,
    LearnedNormalizer,
    LearnedQueryScale,
    LinenLearnedAttentionFn,
    NormalizerParam,
)
from softmax_jax.nn.link import OutputLink
from softmax_jax.nn.output import (
    GatedRMSNorm,
    OutputGate,
    OutputRMSNorm,
    SmallGainRMSNorm,
)
from softmax_jax.nn.transformer import Transformer, TransformerConfig, attention_weights

__all__ = [
    "AdaptiveScale",
    "GatedRMSNorm",
    "LearnedAttentionFn",
    "LearnedNormalizer",
    "LearnedQueryScale",
    "LinenLearnedAttentionFn",
    "NormalizerParam",
    "OutputGate",
    "OutputLink",
    "OutputRMSNorm",
    "SmallGainRMSNorm",
    "Transformer",
    "TransformerConfig",
    "attention_weights",
    "generate",
]
