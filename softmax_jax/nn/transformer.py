"""A causal Transformer whose attention takes any normalizer."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from softmax_jax import heads, losses
from softmax_jax.errors import UserError
from softmax_jax.losses import histalign
from softmax_jax.losses.linear import Axes, logits_per_token
from softmax_jax.nn.attention import Attended, Cache
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import BlocksConfig, check_static
from softmax_jax.nn.heads import MixtureLatents, StateCache, segmented
from softmax_jax.nn.link import OutputLink
from softmax_jax.nn.positions import with_positions
from softmax_jax.normalizers.base import Normalizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlocksConfig):
    """Blocks between an embedding of `vocabulary` tokens and logits over them.

    `tied` takes the embedding for the head too; `link` maps the logits before the
    softmax of the loss. `head` mixes several of them, "mos(components=4)", or
    "moss(components=4)", whose link is sigsoftmax; or has the states of the sequence
    for a memory beside them, "cache". The rest is what `BlocksConfig` says.
    """

    vocabulary: int
    tied: bool = True
    link: str | Normalizer | None = None
    head: str | heads.Head | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_static("link", self.link)
        own = None if self.head is None else heads.parse_head(self.head).link
        if own is not None and self.link is not None:
            raise UserError(f"head={self.head} has the link {own}; leave link=None")


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
        link, mixture = config.link, None
        head = None if config.head is None else heads.parse_head(config.head)
        if head is not None:
            link = link or head.link
        if isinstance(head, heads.Mixture):
            mixture = MixtureLatents(
                config.width, head.components, dtype=config.dtype, rngs=rngs
            )
        self.mixture = mixture
        self.remembers = isinstance(head, heads.CacheHead)
        self.link = None if link is None else OutputLink(link)

    def __call__(
        self, tokens: Int[Array, "b t"], *, segment_ids: Int[Array, "b t"] | None = None
    ) -> Float[Array, "b t v"]:
        """Float32 logits; packed documents are kept apart by `segment_ids`.

        Those of a mixture or a cache are log-probabilities.
        """
        return self.run(tokens, segment_ids=segment_ids)[0]

    def run(
        self, tokens: Int[Array, "b t"], *, start: Array | int = 0, **options
    ) -> tuple[Array, list[Attended]]:
        """Logits, and what each layer gave back.

        The first token stands at `start`; `caches` hold what came before it. The other
        options are `segment_ids`, `memory` and `return_weights`.
        """
        states, layers = self.states(tokens, start=start, **options)
        logits = self.logits(states)
        if not self.remembers:
            return logits, layers
        read = StateCache(states, tokens)
        if options.get("caches") is not None:
            read = options["caches"][-1].write(states, tokens, start)
        memory = read.memory(start, tokens.shape[1], options.get("segment_ids"))
        scores = histalign.cache_scores(states, read.states)
        joint = histalign.joint_log_probabilities(logits, scores, memory)
        return joint, [*layers, Attended(states, read, None)]

    def states(
        self, tokens: Int[Array, "b t"], *, start: Array | int = 0, **options
    ) -> tuple[Float[Array, "b t w"], list[Attended]]:
        """What the head is given, and what each layer gave back; options as `run`."""
        partition = options.get("partition")
        if self.remembers and partition is not None and partition.sequence is not None:
            raise UserError(
                'head="cache" looks at whole sequences, which partition splits'
            )
        x = with_positions(self.embed(tokens), self.config, start, partition)
        x, layers = run_blocks(
            self.blocks, x, remat=self.config.remat, start=start, **options
        )
        return self.final_norm(x), layers

    def logits(self, states: Float[Array, "b t w"]) -> Float[Array, "b t v"]:
        """What the layer or mixture of the head makes of states."""
        if self.mixture is not None:
            latents, prior = self.mixture(states)
            return heads.mixture_log_probabilities(
                latents, prior, self._classes(), link=self._link()
            )
        logits = jnp.einsum(
            "btw,vw->btv",
            states,
            self._classes().astype(states.dtype),
            preferred_element_type=jnp.float32,
        )
        return logits if self.link is None else self.link.map(logits)

    def losses(
        self,
        states: Float[Array, "b t w"],
        labels: Int[Array, "b t"],
        *,
        segment_ids: Int[Array, "b t"] | None = None,
        label_smoothing: float = 0.0,
        tokens: P | None = None,
        vocabulary: Axes = None,
    ) -> Float[Array, "b t"]:
        """-log p(label) for every state, without their logits in memory.

        `segment_ids` tell apart the documents that a cache sees. The other options are
        those of `linear_cross_entropy`.
        """
        split = dict(link=self._link(), tokens=tokens, vocabulary=vocabulary)
        if self.config.head is None:
            return losses.linear_cross_entropy(
                states,
                self._classes(),
                labels,
                label_smoothing=label_smoothing,
                **split,
            )
        if label_smoothing:
            raise NotImplementedError(
                f"label_smoothing needs every probability of head={self.config.head}, "
                "which its loss never holds"
            )
        if self.mixture is None:
            found = logits_per_token(states, self._classes(), labels, **split)
            memory = histalign.decoder_memory(labels, labels >= 0)
            return histalign.joint_loss(
                found.mass,
                found.label,
                histalign.cache_scores(states, states),
                segmented(memory, segment_ids),
                labels,
            )
        latents, prior = self.mixture(states)
        return heads.mixture_cross_entropy(
            latents, prior, self._classes(), labels, **split
        )

    def empty_caches(self, batch: int, capacity: int) -> list[Cache | StateCache]:
        """One empty cache per layer, the head's last, for `capacity` positions."""
        config = self.config
        shape = (batch, capacity, config.kv_heads_, config.head_width_)
        zeros = jnp.zeros(shape, jnp.dtype(config.dtype))
        caches: list[Any] = [Cache(zeros, zeros) for _ in range(config.layers)]
        if not self.remembers:
            return caches
        states = jnp.zeros((batch, capacity, config.width), zeros.dtype)
        return [*caches, StateCache(states, jnp.zeros((batch, capacity), jnp.int32))]

    def _classes(self) -> Float[Array, "v w"]:
        """The vector of every class, whose product with a state is a logit."""
        return (
            self.embed.embedding[...] if self.config.tied else self.head.kernel[...].T
        )

    def _link(self) -> str | Normalizer:
        return "softmax" if self.link is None else self.link()


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
