"""6 N + 12 L H D T floating point operations per token, 6 N + 6 L H D T if causal.

That is a step of training: 2 for every multiplication with its addition, once forward
and twice backward. N are the parameters of kernels that a token is multiplied with: of
the L blocks, and of the head, tied or not; not embeddings, norms, biases or what a
normalizer or query scale has of its own. H heads of width D look at T keys each; a
causal one at half of them. What is computed again (remat) does not count, nor does what
a normalizer does with a score, which is no product of matrices.
"""

import jax

from softmax_jax.heads import Mixture, parse_head
from softmax_jax.nn import EncoderDecoderConfig, TransformerConfig
from softmax_jax.nn import VisionTransformerConfig as VisionConfig
from softmax_jax.nn.config import BlocksConfig

# Floating point operations per second of a device in bfloat16, no zeros skipped, by
# its `device_kind`: cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, and half of what
# nvidia.com/en-us/data-center/h100 and /h200 give for sparse matrices (SXM, PCIe).
PEAK = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA H100 80GB HBM3": 989.5e12,
    "NVIDIA H100 PCIe": 756.5e12,
    "NVIDIA H200": 989.5e12,
}


def step_flops(
    config: BlocksConfig,
    sequences: int,
    length: int,
    source_length: int | None = None,
    *,
    halve_causal: bool = True,
) -> float:
    """Of one training step on sequences of `length` tokens, by the formula above.

    An encoder-decoder has sources of `source_length` too. Images are as long as their
    configuration says, whatever `length` is.
    """
    if isinstance(config, VisionConfig):
        return 6.0 * sequences * _image(config)
    seen = 1.0
    products = 0.0
    if isinstance(config, TransformerConfig):
        seen = 0.5 if halve_causal else 1.0
        products += _head(config) * length
    if isinstance(config, EncoderDecoderConfig):
        source = length if source_length is None else source_length
        products += _blocks(config, source) + _cross(config, length, source)
    return 6.0 * sequences * (products + _blocks(config, length, seen))


def utilization(
    flops: float, seconds: float, devices: int, kind: str | None = None
) -> float | None:
    """MFU: operations per second over what the devices could do at best in bfloat16.

    None where the best of this kind of device is unknown; by default JAX's first one.
    """
    peak = PEAK.get(jax.devices()[0].device_kind if kind is None else kind)
    return None if peak is None else flops / seconds / (devices * peak)


def _head(config: TransformerConfig) -> float:
    """Those of the head for one token; a mixture has its latents and several heads."""
    head = None if config.head is None else parse_head(config.head)
    if not isinstance(head, Mixture):
        return float(config.width * config.vocabulary)
    mixed = head.components
    return float(config.width * mixed * (config.vocabulary + config.width + 1))


def _blocks(config: BlocksConfig, length: int, seen: float = 1.0) -> float:
    """Multiplications of all blocks, for a sequence of which a token sees a part."""
    heads, kv_heads, head_width = config.heads, config.kv_heads_, config.head_width_
    projections = (2 + config.output_gate) * heads + 2 * kv_heads
    mlp = (3 if config.mlp == "gated" else 2) * config.mlp_width_
    kernels = config.width * (projections * head_width + mlp)
    scores_and_values = 2 * heads * head_width * length * seen
    return config.layers * length * (kernels + scores_and_values)


def _cross(config: BlocksConfig, length: int, source: int) -> float:
    """Those of attention from a target to a source."""
    heads, kv_heads, head_width = config.heads, config.kv_heads_, config.head_width_
    of_target = (2 + config.output_gate) * heads * length
    kernels = config.width * head_width * (of_target + 2 * kv_heads * source)
    scores_and_values = 2.0 * heads * head_width * length * source
    return config.layers * (kernels + scores_and_values)


def _image(config: VisionConfig) -> float:
    """Those for one image: patches, blocks, and the head once."""
    length = config.patches + (config.pooling == "token")
    embedding = config.patches * config.patch**2 * config.channels
    return _blocks(config, length) + config.width * (embedding + config.classes)
