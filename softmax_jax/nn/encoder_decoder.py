"""A Transformer from one sequence to another; attention takes any normalizer."""

import dataclasses
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float, Int

from softmax_jax.attention.partition import Partition
from softmax_jax.errors import UserError
from softmax_jax.nn.attention import Attended, Memory
from softmax_jax.nn.blocks import each_block
from softmax_jax.nn.config import Normalizers, StyledConfig
from softmax_jax.nn.encoder import Encoder, EncoderConfig
from softmax_jax.nn.transformer import Transformer, TransformerConfig
from softmax_jax.normalizers.base import Normalizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig, StyledConfig):
    """An encoder and a decoder of `layers` blocks each.

    `vocabulary` is the target's; `source_vocabulary` None shares it and its embedding.
    `normalizer` is that of the decoder's self-attention, and, where they are None, also
    that of the encoder's and of the attention from the one to the other.
    """

    source_vocabulary: int | None = None
    encoder_normalizer: Normalizers | None = None
    cross_normalizer: Normalizers | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_normalizer", "cross_normalizer"):
            given = getattr(self, name)
            self.per_layer(name, self.normalizer if given is None else given)

    @property
    def cross_normalizers(self) -> tuple[str | Normalizer, ...]:
        own = self.cross_normalizer
        return self.normalizers if own is None else self.per_layer("cross", own)

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder alone, which takes embeddings if the vocabulary is shared."""
        names = [field.name for field in dataclasses.fields(StyledConfig)]
        shared = {name: getattr(self, name) for name in names}
        if self.encoder_normalizer is not None:
            shared["normalizer"] = self.encoder_normalizer
        return EncoderConfig(vocabulary=self.source_vocabulary, **shared)


class Translated(NamedTuple):
    """Logits over the next target token, and what each layer gave back."""

    logits: Array
    encoder: list[Attended]
    decoder: list[Attended]


class EncoderDecoder(nnx.Module):
    """Source tokens and target inputs to logits over the next target token."""

    def __init__(self, config: EncoderDecoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config.encoder, rngs=rngs)
        self.decoder = Transformer(config, cross=config.cross_normalizers, rngs=rngs)

    def __call__(
        self,
        source: Int[Array, "b s"],
        inputs: Int[Array, "b t"],
        *,
        source_lengths: Int[Array, " b"] | None = None,
        segment_ids: tuple[Int[Array, "b s"], Int[Array, "b t"]] | None = None,
    ) -> Float[Array, "b t v"]:
        """Float32 logits; `inputs` are the target moved by one (teacher forcing).

        What lies beyond `source_lengths` is padding. Packed pairs of sequences are kept
        apart by `segment_ids` of source and target.
        """
        return self.run(
            source, inputs, source_lengths=source_lengths, segment_ids=segment_ids
        ).logits

    def run(
        self,
        source: Int[Array, "b s"],
        inputs: Int[Array, "b t"],
        *,
        source_lengths: Int[Array, " b"] | None = None,
        segment_ids: tuple[Int[Array, "b s"], Int[Array, "b t"]] | None = None,
        return_weights: bool = False,
        partition: Partition | None = None,
    ) -> Translated:
        """The same, and what each layer gave back.

        `partition` is that of `dot_product_attention`; sequences cannot be split.
        """
        if partition is not None and partition.sequence is not None:
            raise UserError("an encoder-decoder cannot split its sequences")
        of_source, of_target = (None, None) if segment_ids is None else segment_ids
        memory, encoder = self.encode(
            source,
            lengths=source_lengths,
            segment_ids=of_source,
            return_weights=return_weights,
            partition=partition,
        )
        logits, decoder = self.decoder.run(
            inputs,
            memory=memory,
            segment_ids=of_target,
            return_weights=return_weights,
            partition=partition,
        )
        return Translated(logits, encoder, decoder)

    def encode(
        self,
        source: Int[Array, "b s"],
        *,
        lengths: Int[Array, " b"] | None = None,
        segment_ids: Int[Array, "b s"] | None = None,
        return_weights: bool = False,
        partition: Partition | None = None,
    ) -> tuple[Memory, list[Attended]]:
        """What the decoder looks at, and what each layer of the encoder gave back."""
        shared = self.config.source_vocabulary is None
        states, layers = self.encoder.run(
            self.decoder.embed(source) if shared else source,
            lengths=lengths,
            segment_ids=segment_ids,
            return_weights=return_weights,
            partition=partition,
        )
        return Memory(states, lengths, segment_ids), layers

    def remember(self, memory: Memory) -> list[Memory]:
        """The memory as each layer's keys and values, made once for all steps."""
        layers = [block.cross for block in each_block(self.decoder.blocks)]
        return [cross.remember(memory) for cross in layers if cross is not None]
