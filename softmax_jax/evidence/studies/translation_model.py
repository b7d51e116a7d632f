"""A small encoder-decoder Transformer that shows every attention weight."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from softmax_jax import nn


class Weights(NamedTuple):
    """Attention weights [B, H, T, S] of every layer, by what attends to what."""

    encoder: tuple[Array, ...]
    decoder: tuple[Array, ...]
    cross: tuple[Array, ...]


class EncoderDecoder(nnx.Module):
    """Source tokens and target inputs to logits over the next target token.

    Norms come before attention and MLP, positions are sinusoids. Attention takes
    `normalizer` everywhere, and what it gives passes through the output norm, if any.
    Norms draw from a stream of their own: all other initial parameters are the same
    with every one of them.
    """

    def __init__(self, config, *, rngs: nnx.Rngs):
        shape = nn.EncoderDecoderConfig(
            vocabulary=config.symbols,
            source_vocabulary=config.words,
            layers=config.layers,
            width=config.width,
            heads=config.heads,
            mlp_width=2 * config.width,
            normalizer=config.normalizer,
            learned=(),
            output_norm=config.output_norm,
            positions="sinusoid",
            mlp="relu",
            tied=False,
        )
        self.model = nn.EncoderDecoder(shape, rngs=rngs)

    def __call__(
        self,
        source: Int[Array, "b s"],
        source_visible: Bool[Array, "b s"],
        inputs: Int[Array, "b t"],
    ) -> tuple[Float[Array, "b t v"], Weights]:
        """Logits and weights; the visible words of a source stand before the others."""
        lengths = source_visible.sum(-1, dtype=jnp.int32)
        logits, encoder, decoder = self.model.run(
            source, inputs, source_lengths=lengths, return_weights=True
        )
        return logits, Weights(
            encoder=_given(layer.weights for layer in encoder),
            decoder=_given(layer.weights for layer in decoder),
            cross=_given(layer.cross_weights for layer in decoder),
        )


def _given(weights: Iterable[Array | None]) -> tuple[Array, ...]:
    return tuple(layer for layer in weights if layer is not None)
