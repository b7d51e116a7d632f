"""Rows that are softmax after a query multiplier, by `jax.nn` and cuDNN.

    softmax(c * scale * q.k),   with c folded into the queries.

softmax, SSMax and every query scale are such rows; nothing else is computed by it.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.kernels.prepare import key_count, multiplied, only_positions
from softmax_jax.attention.kernels.tiles import linear
from softmax_jax.attention.operands import Operands
from softmax_jax.target import platform

NAME = "implementation='cudnn'"
DTYPES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))


def cudnn(
    operands: Operands,
    scale: ArrayLike,
    soft_cap: ArrayLike | None,
    *,
    offset: int | None,
) -> Array:
    """Outputs [B, K, G, T, V]; NotImplementedError says what cuDNN cannot do."""
    mask = operands.mask
    check(operands, soft_cap, offset)
    n = key_count(operands, offset)
    c, normalizer = multiplied(operands, n, jnp.asarray(scale, jnp.float32))
    straight = linear(normalizer)
    log_c = getattr(normalizer, "log_constant", lambda: None)()
    if straight is None or log_c is not None:
        raise NotImplementedError(
            f"{NAME} is softmax after a query multiplier, which "
            f"{type(normalizer).__name__} is not"
        )
    # Beside a platform that has it, jax.nn says itself what its version lacks.
    if platform() != "gpu":
        raise NotImplementedError(
            f"{NAME} needs an NVIDIA GPU and jax[cuda13], the platform is {platform()}"
        )
    fold = jnp.asarray(scale, jnp.float32) * c * straight[0]
    query = (operands.query.astype(jnp.float32) * fold).astype(operands.query.dtype)

    def tokens_first(x: Array) -> Array:
        x = jnp.moveaxis(x, 3, 1)
        return x.reshape(*x.shape[:2], -1, x.shape[-1])

    output = jax.nn.dot_product_attention(
        tokens_first(query),
        tokens_first(operands.key.swapaxes(3, 4)),
        tokens_first(operands.value.swapaxes(3, 4)),
        scale=1.0,
        is_causal=mask.causal,
        local_window_size=mask.window,
        implementation="cudnn",
    )
    output = output.reshape(*output.shape[:2], *operands.query.shape[1:3], -1)
    return jnp.moveaxis(output, 1, 3)


def check(operands: Operands, soft_cap: ArrayLike | None, offset: int | None) -> None:
    """Refuses what is not passed on."""
    dtype, mask = operands.query.dtype, operands.mask
    if dtype not in DTYPES:
        raise NotImplementedError(
            f"{NAME} computes in bfloat16 and float16, got {dtype}"
        )
    if soft_cap is not None:
        raise NotImplementedError(f"{NAME} has no logits_soft_cap")
    if offset is None or not only_positions(operands):
        raise NotImplementedError(
            f"{NAME} takes causality and a window to the left, and no other mask, "
            "bias, length or segment"
        )
    if offset != 0 and (mask.causal or mask.window is not None):
        raise NotImplementedError(
            f"{NAME} puts the first query at the first key, got query_offset={offset}"
        )
    if mask.window is not None and mask.window[1] != 0 and not mask.causal:
        raise NotImplementedError(f"{NAME} has windows to the left, got {mask.window}")
