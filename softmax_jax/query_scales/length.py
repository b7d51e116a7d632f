"""Scales that follow the number n of visible keys: the position, if causal."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.normalizers.parameters import parameter
from softmax_jax.query_scales.base import QueryScale, Seen


class LogLength(QueryScale):
    """c = s log n + b: the multiplier of Scalable-Softmax, for any normalizer."""

    formula = "s log n + b"
    paper = "arXiv 2501.19399"

    scale: ArrayLike = parameter(0.168)
    bias: ArrayLike = parameter(0.0, learned=False)

    def multiplier(self, seen: Seen) -> Array:
        return jnp.log(seen.n) * self.scale + self.bias


class LogN(QueryScale):
    """c = max(1, log n / log length): 1 up to the training length, log n beyond it."""

    formula = "max(1, log n / log length)"
    paper = "Qwen technical report, arXiv 2309.16609"

    length: int = 2048

    def multiplier(self, seen: Seen) -> Array:
        return jnp.maximum(1, jnp.log(seen.n) / jnp.log(self.length))


class Llama4(QueryScale):
    """c = 1 + a log(floor(n / f) + 1): 1 for the first f keys, then slowly growing.

    The release counts positions from 0 and takes position + 1 for n, in the layers
    without position encoding.
    """

    formula = "1 + a log(⌊n/f⌋ + 1)"
    paper = "Llama 4, 2025"

    slope: ArrayLike = parameter(0.1, learned=False)
    floor: int = 8192

    def multiplier(self, seen: Seen) -> Array:
        return 1 + jnp.log1p(jnp.floor(seen.n / self.floor)) * self.slope


class AdaptiveLength(QueryScale):
    """c = delta + beta (log n)^gamma: ASEntmax's scale, with n = 1 counted as 2.

    In the paper beta = softplus(w.x) and gamma = r tanh(v.x) are read off each token
    (`softmax_jax.nn.AdaptiveScale`); as fields they broadcast against [B, T, H].
    """

    formula = "δ + β (log n)^γ"
    paper = "arXiv 2506.16640"

    delta: ArrayLike = parameter(1.0, learned=False)
    beta: ArrayLike = parameter(1.0)
    gamma: ArrayLike = parameter(1.0)

    def multiplier(self, seen: Seen) -> Array:
        log_log_n = jnp.log(jnp.log(jnp.maximum(seen.n, 2)))
        return jnp.exp(log_log_n * self.gamma) * self.beta + self.delta
