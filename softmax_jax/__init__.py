"""Softmax alternatives for JAX: pure functions, attention, and evidence."""

from softmax_jax import heads, losses
from softmax_jax.attention.api import dot_product_attention
from softmax_jax.attention.flax_hook import attention_fn
from softmax_jax.attention.partition import Partition
from softmax_jax.attention.statistics import Statistics
from softmax_jax.catalogue import (
    CATALOGUE,
    QUERY_SCALES,
    parse,
    parse_query_scale,
    table,
)
from softmax_jax.errors import UserError
from softmax_jax.logarithms import (
    log_entmax,
    log_entmax15,
    log_logistic_softmax,
    log_multimax,
    log_r_softmax,
    log_relu,
    log_relu_power,
    log_sigmoid,
    log_sigsoftmax,
    log_softmax,
    log_softmax1,
    log_softpick,
    log_sparse_softmax,
    log_sparsemax,
    log_ssmax,
    log_t_softmax,
)
from softmax_jax.normalizers.base import Elementwise, Normalizer, Ratio, Threshold
from softmax_jax.normalizers.entmax import Entmax, Entmax15, entmax, entmax15
from softmax_jax.normalizers.logistic_softmax import LogisticSoftmax, logistic_softmax
from softmax_jax.normalizers.multimax import MultiMax, multimax
from softmax_jax.normalizers.parameters import parameter, row_statistic
from softmax_jax.normalizers.r_softmax import RSoftmax, TSoftmax, r_softmax, t_softmax
from softmax_jax.normalizers.relu import ReLU, ReLUPower, relu, relu_power
from softmax_jax.normalizers.sigmoid import Sigmoid, sigmoid
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax, sigsoftmax
from softmax_jax.normalizers.softmax import Softmax, softmax
from softmax_jax.normalizers.softmax1 import Softmax1, softmax1
from softmax_jax.normalizers.softpick import Softpick, softpick
from softmax_jax.normalizers.sparse_softmax import SparseSoftmax, sparse_softmax
from softmax_jax.normalizers.sparsemax import Sparsemax, sparsemax
from softmax_jax.normalizers.ssmax import SSMax, ssmax
from softmax_jax.query_scales.base import QueryScale, Seen
from softmax_jax.query_scales.key_lengths import KeyLengths
from softmax_jax.query_scales.length import AdaptiveLength, Llama4, LogLength, LogN

__all__ = [
    "AdaptiveLength",
    "CATALOGUE",
    "Elementwise",
    "Entmax",
    "Entmax15",
    "KeyLengths",
    "Llama4",
    "LogLength",
    "LogN",
    "LogisticSoftmax",
    "MultiMax",
    "Normalizer",
    "Partition",
    "QUERY_SCALES",
    "QueryScale",
    "RSoftmax",
    "Ratio",
    "ReLU",
    "ReLUPower",
    "SSMax",
    "Seen",
    "Sigmoid",
    "Sigsoftmax",
    "Softmax",
    "Softmax1",
    "Softpick",
    "SparseSoftmax",
    "Sparsemax",
    "Statistics",
    "TSoftmax",
    "Threshold",
    "UserError",
    "attention_fn",
    "dot_product_attention",
    "entmax",
    "entmax15",
    "log_entmax",
    "log_entmax15",
    "log_logistic_softmax",
    "log_multimax",
    "log_r_softmax",
    "log_relu",
    "log_relu_power",
    "log_sigmoid",
    "log_sigsoftmax",
    "log_softmax",
    "log_softmax1",
    "log_softpick",
    "log_sparse_softmax",
    "log_sparsemax",
    "log_ssmax",
    "log_t_softmax",
    "logistic_softmax",
    "heads",
    "losses",
    "multimax",
    "parameter",
    "parse",
    "parse_query_scale",
    "r_softmax",
    "relu",
    "relu_power",
    "row_statistic",
    "sigmoid",
    "sigsoftmax",
    "softmax",
    "softmax1",
    "softpick",
    "sparse_softmax",
    "sparsemax",
    "ssmax",
    "t_softmax",
    "table",
]
