"""A small encoder-decoder Transformer that shows every attention weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

import softmax_jax as sj
from softmax_jax.errors import UserError
from softmax_jax.nn.attention import OUTPUT_NORMS
from softmax_jax.nn.output import OutputRMSNorm


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
        if config.output_norm not in (None, *OUTPUT_NORMS):
            raise UserError(
                f"output_norm must be None or one of {', '.join(OUTPUT_NORMS)}, got "
                f"{config.output_norm!r}"
            )
        width = config.width
        self.source_embedding = nnx.Embed(config.words, width, rngs=rngs)
        self.target_embedding = nnx.Embed(config.symbols, width, rngs=rngs)
        layers = range(config.layers)
        self.encoder = nnx.List([Block(config, rngs=rngs) for _ in layers])
        self.decoder = nnx.List([Block(config, cross=True, rngs=rngs) for _ in layers])
        self.encoder_norm = nnx.RMSNorm(width, rngs=rngs)
        self.decoder_norm = nnx.RMSNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, config.symbols, use_bias=False, rngs=rngs)

    def __call__(
        self,
        source: Int[Array, "b s"],
        source_visible: Bool[Array, "b s"],
        inputs: Int[Array, "b t"],
    ) -> tuple[Float[Array, "b t v"], Weights]:
        encoder, decoder, cross = [], [], []
        mask = source_visible[:, None, None]
        x = _embedded(self.source_embedding, source)
        for block in self.encoder:
            x, weights, _ = block(x, mask=mask)
            encoder.append(weights)
        memory = self.encoder_norm(x)
        y = _embedded(self.target_embedding, inputs)
        for block in self.decoder:
            y, weights, to_source = block(y, memory=memory, mask=mask)
            decoder.append(weights)
            cross.append(to_source)
        weights = Weights(tuple(encoder), tuple(decoder), tuple(cross))
        return self.head(self.decoder_norm(y)), weights


class Block(nnx.Module):
    """Self-attention, in a decoder attention to the source, MLP.

    A decoder's self-attention is causal; an encoder's takes the mask of the source.
    """

    def __init__(self, config, *, cross: bool = False, rngs: nnx.Rngs):
        width = config.width
        self.attention = Attention(config, rngs=rngs)
        self.cross = Attention(config, rngs=rngs) if cross else None
        self.mlp_norm = nnx.RMSNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(
        self, x: Array, *, mask: Array, memory: Array | None = None
    ) -> tuple[Array, Array, Array | None]:
        """The output, and the weights of the one and the other attention."""
        cross_weights = None
        if self.cross is None:
            x, weights = self.attention(x, mask=mask)
        else:
            x, weights = self.attention(x, is_causal=True)
            x, cross_weights = self.cross(x, memory, mask=mask)
        hidden = jax.nn.relu(self.up(self.mlp_norm(x)))
        return x + self.down(hidden), weights, cross_weights


class Attention(nnx.Module):
    """x + attention from norm(x) to the memory, or to itself; also the weights."""

    def __init__(self, config, *, rngs: nnx.Rngs):
        heads = (config.heads, config.width // config.heads)
        self.norm = nnx.RMSNorm(config.width, rngs=rngs)
        self.query, self.key, self.value = (
            nnx.LinearGeneral(config.width, heads, use_bias=False, rngs=rngs)
            for _ in range(3)
        )
        self.out = nnx.LinearGeneral(
            heads, config.width, axis=(-2, -1), use_bias=False, rngs=rngs
        )
        self.normalizer = config.normalizer
        self.output_norm = _output_norm(config, nnx.Rngs(rngs.output_norm()))

    def __call__(
        self,
        x: Array,
        memory: Array | None = None,
        *,
        mask: Array | None = None,
        is_causal: bool = False,
    ) -> tuple[Array, Array]:
        normed = self.norm(x)
        memory = normed if memory is None else memory
        output, weights = sj.dot_product_attention(
            self.query(normed),
            self.key(memory),
            self.value(memory),
            mask=mask,
            normalizer=self.normalizer,
            is_causal=is_causal,
            return_weights=True,
        )
        if self.output_norm is not None:
            output = self.output_norm(output)
        return x + self.out(output), weights


def _output_norm(config, rngs: nnx.Rngs) -> OutputRMSNorm | None:
    if config.output_norm is None:
        return None
    return OUTPUT_NORMS[config.output_norm](config.width, rngs=rngs)


def _embedded(embedding: nnx.Embed, tokens: Int[Array, "b t"]) -> Float[Array, "b t w"]:
    """Embeddings of unit variance with sinusoids (Vaswani et al., 1706.03762, 3.5)."""
    width = embedding.features
    place = jnp.arange(tokens.shape[1], dtype=jnp.float32)
    angle = place[:, None] * 10_000 ** (-jnp.arange(0, width, 2) / width)[None]
    sinusoids = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return embedding(tokens) * width**0.5 + sinusoids[None]
