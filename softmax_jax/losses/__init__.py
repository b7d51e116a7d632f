"""Losses for the last layer: logits, or what makes them, to one number per row."""

from softmax_jax.losses.by_tokens import linear_loss
from softmax_jax.losses.fenchel_young import entmax_loss, sparsemax_loss
from softmax_jax.losses.linear import linear_cross_entropy
from softmax_jax.losses.links import PLIF, NormalizedReLU, SoftCap
from softmax_jax.losses.sparse_softmax import sparse_softmax_loss

__all__ = [
    "NormalizedReLU",
    "PLIF",
    "SoftCap",
    "entmax_loss",
    "linear_cross_entropy",
    "linear_loss",
    "sparse_softmax_loss",
    "sparsemax_loss",
]
