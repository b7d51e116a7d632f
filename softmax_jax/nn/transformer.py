"""A causal Transformer whose attention takes any normalizer."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from softmax_jax.nn.attention import Attended, Cache
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import BlocksConfig, check_static
from softmax_jax.nn.link import OutputLink
from softmax_jax.nn.positions import with_positions
from softmax_jax.normalizers.base import Normalizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlocksConfig):
    """Blocks between an embedding of `vocabulary` tokens and logits over them.

    `tied` takes the embedding for the head too; `link` maps the logits before the
    softmax of the loss. The rest is what `BlocksConfig` says.
    """

    vocabulary: int
    tied: bool = True
    link: str | Normalizer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_static("link", self.link)


class Transformer(nnx.Module):
    """Tokens to logits over the next token.

    With `cross`, one normalizer per layer, its blocks also attend to the `memory` that
    `run` is then given: the decoder of `EncoderDecoder`.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        cross: Sequence[str | Normalizer] | None = None,
        rngs: nnx.Rngs,
    ):
        self.config = config
        dtype = jnp.dtype(config.dtype)
        self.embed = nnx.Embed(config.vocabulary, config.width, dtype=dtype, rngs=rngs)
        self.blocks = make_blocks(config, cross=cross, rngs=rngs)
        self.final_norm = make_norm(config, rngs=rngs)
        if not config.tied:
            self.head = nnx.Linear(
                config.width, config.vocabulary, use_bias=False, dtype=dtype, rngs=rngs
            )
        self.link = None if config.link is None else OutputLink(config.link)

    def __call__(
        self, tokens: Int[Array, "b t"], *, segment_ids: Int[Array, "b t"] | None = None
    ) -> Float[Array, "b t v"]:
        """Float32 logits; packed documents are kept apart by `segment_ids`."""
        return self.run(tokens, segment_ids=segment_ids)[0]

    def run(
        self, tokens: Int[Array, "b t"], *, start: Array | int = 0, **options
    ) -> tuple[Array, list[Attended]]:
        """Logits, and what each layer gave back.

        The first token stands at `start`; `caches` hold what came before it. The other
        options are `segment_ids`, `memory` and `return_weights`.
        """
        partition = options.get("partition")
        x = with_positions(self.embed(tokens), self.config, start, partition)
        x, layers = run_blocks(
            self.blocks, x, remat=self.config.remat, start=start, **options
        )
        return self._logits(self.final_norm(x)), layers

    def empty_caches(self, batch: int, capacity: int) -> list[Cache]:
        """One empty cache per layer, for `capacity` positions."""
        config = self.config
        shape = (batch, capacity, config.kv_heads_, config.head_width_)
        zeros = jnp.zeros(shape, jnp.dtype(config.dtype))
        return [Cache(zeros, zeros) for _ in range(config.layers)]

    def _logits(self, x: Array) -> Array:
        if self.config.tied:
            kernel = self.embed.embedding[...].T
        else:
            kernel = self.head.kernel[...]
        logits = jnp.einsum(
            "btw,wv->btv", x, kernel.astype(x.dtype), preferred_element_type=jnp.float32
        )
        return logits if self.link is None else self.link.map(logits)


@runtime_checkable
class Runs(Protocol):
    """A model of one stack of blocks: Transformer, Encoder, VisionTransformer."""

    def run(self, x: Array, /, **options) -> tuple[Array, list[Attended]]: ...


def attention_weights(
    model: Runs, inputs: Array
) -> tuple[Float[Array, "b h t t"], ...]:
    """The attention weights of every layer, for looking at."""
    _, layers = model.run(inputs, return_weights=True)
    return tuple(x.weights for x in layers if x.weights is not None)
