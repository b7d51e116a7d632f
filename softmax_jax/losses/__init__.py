"""Losses for the last layer: logits and labels in, one number per row out."""

from softmax_jax.losses.sparse_softmax import sparse_softmax_loss

__all__ = ["sparse_softmax_loss"]
