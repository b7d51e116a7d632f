"""A bidirectional Transformer: every position sees every other."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.nn.attention import Attended
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import StyledConfig
from softmax_jax.nn.positions import with_positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig(StyledConfig):
    """Blocks behind an embedding of `vocabulary` tokens, or behind none (None)."""

    vocabulary: int | None = None


class Encoder(nnx.Module):
    """Tokens [B, T] or embeddings [B, T, width] to states [B, T, width].

    What lies beyond `lengths` [B] is padding, which nothing sees; with `segment_ids`
    [B, T] a position sees its own segment alone.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embed = _embedding(config, rngs)
        self.blocks = make_blocks(config, causal=False, rngs=rngs)
        self.final_norm = make_norm(config, rngs=rngs)

    def __call__(
        self,
        x: Int[Array, "b t"] | Float[Array, "b t w"],
        *,
        lengths: Int[Array, " b"] | None = None,
        segment_ids: Int[Array, "b t"] | None = None,
    ) -> Float[Array, "b t w"]:
        return self.run(x, lengths=lengths, segment_ids=segment_ids)[0]

    def run(
        self, x: Int[Array, "b t"] | Float[Array, "b t w"], **options
    ) -> tuple[Array, list[Attended]]:
        """States, and what each layer gave back; `return_weights` asks for weights."""
        if x.ndim == 2:
            if self.embed is None:
                raise UserError("an encoder without vocabulary takes embeddings")
            x = self.embed(x)
        x = with_positions(x, self.config, partition=options.get("partition"))
        x, layers = run_blocks(self.blocks, x, remat=self.config.remat, **options)
        return self.final_norm(x), layers


def _embedding(config: EncoderConfig, rngs: nnx.Rngs) -> nnx.Embed | None:
    if config.vocabulary is None:
        return None
    dtype = jnp.dtype(config.dtype)
    return nnx.Embed(config.vocabulary, config.width, dtype=dtype, rngs=rngs)
