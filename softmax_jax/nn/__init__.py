"""Flax NNX modules: they hold parameters, and nothing else."""

from softmax_jax.nn.adaptive_scale import AdaptiveScale
from softmax_jax.nn.attention import Cache, Memory
from softmax_jax.nn.beam_search import Beams, beam_search
from softmax_jax.nn.encoder import Encoder, EncoderConfig
from softmax_jax.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
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
from softmax_jax.nn.translate import translate
from softmax_jax.nn.vision import VisionTransformer, VisionTransformerConfig

__all__ = [
    "AdaptiveScale",
    "Beams",
    "Cache",
    "Encoder",
    "EncoderConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "GatedRMSNorm",
    "LearnedAttentionFn",
    "LearnedNormalizer",
    "LearnedQueryScale",
    "LinenLearnedAttentionFn",
    "Memory",
    "NormalizerParam",
    "OutputGate",
    "OutputLink",
    "OutputRMSNorm",
    "SmallGainRMSNorm",
    "Transformer",
    "TransformerConfig",
    "VisionTransformer",
    "VisionTransformerConfig",
    "attention_weights",
    "beam_search",
    "generate",
    "translate",
]
