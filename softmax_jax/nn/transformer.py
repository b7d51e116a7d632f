"""A decoder-only Transformer whose attention takes any normalizer."""

import dataclasses
from collections.abc import Hashable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.nn.attention import OUTPUT_NORMS, Attended, Attention, Cache
from softmax_jax.nn.link import OutputLink
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.base import QueryScale

SIZES = ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width")
CHOICES = {
    "positions": ("rope", "none"),
    "dtype": ("float32", "bfloat16"),
    "output_norm": (None, *OUTPUT_NORMS),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The shape of the model; everything here is static.

    `normalizer` is a spec string or an instance, or a tuple with one per layer;
    `learned` names the parameters to learn (None: those that the class declares as
    learned). `query_scale` multiplies the scores; "adaptive_length" is read off each
    token. `output_norm` normalizes the concatenated heads: "rms", or ReLA's
    "small_gain" and "gated"; `output_gate` multiplies them by a sigmoid of the input.
    `link` maps the logits before the softmax of the loss. `dtype` is where activations
    are computed; parameters stay float32.
    """

    vocabulary: int
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int | None = None
    head_width: int | None = None
    mlp_width: int | None = None
    normalizer: str | Normalizer | tuple[str | Normalizer, ...] = "softmax"
    learned: tuple[str, ...] | None = None
    query_scale: str | QueryScale | None = None
    output_norm: str | None = None
    output_gate: bool = False
    link: str | Normalizer | None = None
    positions: str = "rope"
    rope_theta: float = 10_000.0
    qk_norm: bool = False
    tied: bool = True
    dtype: str = "float32"
    remat: bool = False
    logits_soft_cap: float | None = None
    implementation: str | None = None

    def __post_init__(self) -> None:
        for name in SIZES:
            size = getattr(self, name)
            if size is not None and size < 1:
                raise UserError(f"{name} must be at least 1, got {size}")
        for name, choices in CHOICES.items():
            chosen = getattr(self, name)
            if chosen not in choices:
                allowed = " or ".join(map(str, choices))
                raise UserError(f"{name} must be {allowed}, got {chosen}")
        for name in ("normalizer", "learned", "query_scale", "link"):
            _check_static(name, getattr(self, name))
        if self.heads % self.kv_heads_:
            raise UserError(
                f"heads must be a multiple of kv_heads, got {self.heads} and "
                f"{self.kv_heads}"
            )
        if self.head_width is None and self.width % self.heads:
            raise UserError(
                f"width must be a multiple of heads unless head_width is given, got "
                f"{self.width} and {self.heads}"
            )
        if isinstance(self.normalizer, tuple) and len(self.normalizer) != self.layers:
            raise UserError(
                f"normalizer must be one or one per layer ({self.layers}), got "
                f"{len(self.normalizer)}"
            )
        if self.positions == "rope" and self.head_width_ % 2:
            raise UserError(
                f"positions rope needs an even head_width, got {self.head_width_}"
            )

    @property
    def kv_heads_(self) -> int:
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_width_(self) -> int:
        return self.head_width or self.width // self.heads

    @property
    def mlp_width_(self) -> int:
        """8/3 of the width, so that a gated MLP costs what a plain one of 4 does."""
        return self.mlp_width or -(-8 * self.width // 3)

    @property
    def normalizers(self) -> tuple[str | Normalizer, ...]:
        one = self.normalizer
        return one if isinstance(one, tuple) else (one,) * self.layers


def _check_static(name: str, value: Hashable) -> None:
    """Refuses what cannot be hashed: a model of it could not be compiled."""
    try:
        hash(value)
    except TypeError:
        raise UserError(
            f"{name} must be made of numbers, strings and tuples, got {value!r}"
        ) from None


class MLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        project = dict(use_bias=False, dtype=jnp.dtype(config.dtype), rngs=rngs)
        self.gate = nnx.Linear(config.width, config.mlp_width_, **project)
        self.up = nnx.Linear(config.width, config.mlp_width_, **project)
        self.down = nnx.Linear(config.mlp_width_, config.width, **project)

    def __call__(self, x: Array) -> Array:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(
        self, config: TransformerConfig, normalizer: str | Normalizer, *, rngs: nnx.Rngs
    ):
        norm = dict(dtype=jnp.dtype(config.dtype), rngs=rngs)
        self.attention_norm = nnx.RMSNorm(config.width, **norm)
        self.attention = Attention(config, normalizer, rngs=rngs)
        self.mlp_norm = nnx.RMSNorm(config.width, **norm)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: Array, start: Array, **options) -> Attended:
        attended = self.attention(self.attention_norm(x), start, **options)
        x = x + attended.output
        return attended._replace(output=x + self.mlp(self.mlp_norm(x)))


class Transformer(nnx.Module):
    """Tokens to logits over the next token."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype = jnp.dtype(config.dtype)
        self.embed = nnx.Embed(config.vocabulary, config.width, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            [Block(config, normalizer, rngs=rngs) for normalizer in config.normalizers]
        )
        self.final_norm = nnx.RMSNorm(config.width, dtype=dtype, rngs=rngs)
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
        self,
        tokens: Int[Array, "b t"],
        *,
        start: Array | int = 0,
        caches: list[Cache] | None = None,
        **options,
    ) -> tuple[Array, list[Attended]]:
        """Logits, and what each layer gave back."""
        start = jnp.asarray(start, jnp.int32)
        x = self.embed(tokens)
        layers = []
        for i, block in enumerate(self.blocks):
            cache = None if caches is None else caches[i]
            layers.append(self._call(block, x, start, cache=cache, **options))
            x = layers[-1].output
        return self._logits(self.final_norm(x)), layers

    def empty_caches(self, batch: int, capacity: int) -> list[Cache]:
        """One empty cache per layer, for `capacity` positions."""
        config = self.config
        shape = (batch, capacity, config.kv_heads_, config.head_width_)
        zeros = jnp.zeros(shape, jnp.dtype(config.dtype))
        return [Cache(zeros, zeros) for _ in self.blocks]

    def _call(self, block: Block, x: Array, start: Array, **options) -> Attended:
        """The block, recomputed in the backward pass if the config says so."""
        if not self.config.remat:
            return block(x, start, **options)
        graphdef, state = nnx.split(block)

        @jax.checkpoint
        def recomputed(state, x):
            return nnx.merge(graphdef, state)(x, start, **options)

        return recomputed(state, x)

    def _logits(self, x: Array) -> Array:
        if self.config.tied:
            kernel = self.embed.embedding[...].T
        else:
            kernel = self.head.kernel[...]
        logits = jnp.einsum(
            "btw,wv->btv", x, kernel.astype(x.dtype), preferred_element_type=jnp.float32
        )
        return logits if self.link is None else self.link.map(logits)


def attention_weights(
    model: Transformer, tokens: Int[Array, "b t"]
) -> tuple[Float[Array, "b h t t"], ...]:
    """The attention weights of every layer, for looking at."""
    _, layers = model.run(tokens, return_weights=True)
    return tuple(x.weights for x in layers if x.weights is not None)
