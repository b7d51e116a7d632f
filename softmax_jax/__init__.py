"""Softmax alternatives for JAX: pure functions, attention, and evidence."""

from softmax_jax.attention.api import dot_product_attention
from softmax_jax.attention.flax_hook import attention_fn
from softmax_jax.catalogue import CATALOGUE, parse, table
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Elementwise, Normalizer, Ratio, Threshold
from softmax_jax.normalizers.entmax import Entmax, Entmax15, entmax, entmax15
from softmax_jax.normalizers.parameters import parameter
from softmax_jax.normalizers.sigmoid import Sigmoid, sigmoid
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax, sigsoftmax
from softmax_jax.normalizers.softmax import Softmax, softmax
from softmax_jax.normalizers.softmax1 import Softmax1, softmax1
from softmax_jax.normalizers.sparsemax import Sparsemax, sparsemax
from softmax_jax.normalizers.ssmax import SSMax, ssmax

__all__ = [
    "CATALOGUE",
    "Elementwise",
    "Entmax",
    "Entmax15",
    "Normalizer",
    "Ratio",
    "SSMax",
    "Sigmoid",
    "Sigsoftmax",
    "Softmax",
    "Softmax1",
    "Sparsemax",
    "Threshold",
    "UserError",
    "attention_fn",
    "dot_product_attention",
    "entmax",
    "entmax15",
    "parameter",
    "parse",
    "sigmoid",
    "sigsoftmax",
    "softmax",
    "softmax1",
    "sparsemax",
    "ssmax",
    "table",
]
