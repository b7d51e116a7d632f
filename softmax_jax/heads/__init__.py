"""Heads: from hidden states to log-probabilities, as pure functions."""

from softmax_jax.heads.mixture import mixture_cross_entropy, mixture_log_probabilities
from softmax_jax.heads.specs import (
    HEADS,
    CacheHead,
    Head,
    Mixture,
    MoS,
    MoSS,
    parse_head,
)

__all__ = [
    "CacheHead",
    "HEADS",
    "Head",
    "Mixture",
    "MoS",
    "MoSS",
    "mixture_cross_entropy",
    "mixture_log_probabilities",
    "parse_head",
]
