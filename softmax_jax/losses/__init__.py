"""Losses for the last layer: logits, or what makes them, to one number per row."""

from softmax_jax.losses.by_tokens import linear_loss
from softmax_jax.losses.fenchel_young import entmax_loss, sparsemax_loss
from softmax_jax.losses.histalign import (
    alignment_loss,
    alignment_loss_release,
    histalign_loss,
    histalign_loss_release,
    trime_loss,
)
from softmax_jax.losses.linear import linear_cross_entropy
from softmax_jax.losses.links import PLIF, NormalizedReLU, SoftCap
from softmax_jax.losses.sparse_softmax import sparse_softmax_loss
from softmax_jax.losses.spectral_aware import prototype_step, spectral_aware_loss

__all__ = [
    "NormalizedReLU",
    "PLIF",
    "SoftCap",
    "alignment_loss",
    "alignment_loss_release",
    "entmax_loss",
    "histalign_loss",
    "histalign_loss_release",
    "linear_cross_entropy",
    "linear_loss",
    "prototype_step",
    "sparse_softmax_loss",
    "sparsemax_loss",
    "spectral_aware_loss",
    "trime_loss",
]
