"""What every model made of our blocks is told of them."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import ClassVar

from softmax_jax.errors import UserError
from softmax_jax.nn.output import OUTPUT_NORMS
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.base import QueryScale

Normalizers = str | Normalizer | tuple[str | Normalizer, ...]

SIZES = ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width")
CHOICES = {
    "dtype": ("float32", "bfloat16"),
    "output_norm": (None, *OUTPUT_NORMS),
    "mlp": ("gated", "gelu", "relu"),
    "norm": ("rms", "layer"),
    "remat": ("none", "dots", "full"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """The shape of a stack of blocks; everything here is static.

    `normalizer` is a spec string or an instance, or a tuple with one per layer;
    `learned` names the parameters to learn (None: those that the class declares as
    learned). `query_scale` multiplies the scores; "adaptive_length" is read off each
    token. `output_norm` normalizes the concatenated heads: "rms", or ReLA's
    "small_gain" and "gated"; `output_gate` multiplies them by a sigmoid of the input.
    `dtype` is where activations are computed; parameters stay float32.
    `remat` computes in the backward pass again: all that a block did ("full"), or all
    but its products with kernels ("dots"). `scan` stacks the parameters of all blocks,
    which then are one block run in a loop, compiled once.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int | None = None
    head_width: int | None = None
    mlp_width: int | None = None
    normalizer: Normalizers = "softmax"
    learned: tuple[str, ...] | None = None
    query_scale: str | QueryScale | None = None
    output_norm: str | None = None
    output_gate: bool = False
    positions: str = "rope"
    rope_theta: float = 10_000.0
    qk_norm: bool = False
    dtype: str = "float32"
    remat: str = "none"
    scan: bool = False
    logits_soft_cap: float | None = None
    implementation: str | None = None

    POSITIONS: ClassVar[tuple[str, ...]] = ("rope", "sinusoid", "none")

    def __post_init__(self) -> None:
        for name in SIZES:
            size = getattr(self, name)
            if size is not None and size < 1:
                raise UserError(f"{name} must be at least 1, got {size}")
        for name, choices in {"positions": self.POSITIONS, **CHOICES}.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("learned", "query_scale"):
            check_static(name, getattr(self, name))
        self.per_layer("normalizer", self.normalizer)
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
        if self.positions == "rope" and self.head_width_ % 2:
            raise UserError(
                f"positions rope needs an even head_width, got {self.head_width_}"
            )
        if self.positions == "sinusoid" and self.width % 2:
            raise UserError(f"positions sinusoid needs an even width, got {self.width}")

    # What `StyledConfig` lets one choose.
    @property
    def mlp(self) -> str:
        return "gated"

    @property
    def norm(self) -> str:
        return "rms"

    @property
    def attention_bias(self) -> bool:
        return False

    @property
    def kv_heads_(self) -> int:
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_width_(self) -> int:
        return self.head_width or self.width // self.heads

    @property
    def mlp_width_(self) -> int:
        """4 times the width; 8/3 of it if gated, which then costs the same."""
        default = -(-8 * self.width // 3) if self.mlp == "gated" else 4 * self.width
        return self.mlp_width or default

    @property
    def normalizers(self) -> tuple[str | Normalizer, ...]:
        return self.per_layer("normalizer", self.normalizer)

    def per_layer(self, name: str, given: Normalizers) -> tuple[str | Normalizer, ...]:
        """One normalizer for each layer; `name` says in errors whose they are."""
        check_static(name, given)
        if not isinstance(given, tuple):
            return (given,) * self.layers
        if len(given) != self.layers:
            raise UserError(
                f"{name} must be one or one per layer ({self.layers}), got {len(given)}"
            )
        if self.scan and len(set(given)) > 1:
            raise UserError(f"with scan, {name} must be one for all layers")
        return given


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyledConfig(BlocksConfig):
    """Blocks that need not be those of the decoder-only Transformer.

    `mlp` is "gated" (silu, no biases), or up, "gelu" or "relu", and down, with biases;
    `norm` is "rms" or "layer"; `attention_bias` gives biases to the projections.
    """

    mlp: str = "gated"
    norm: str = "rms"
    attention_bias: bool = False


def check_choice(name: str, chosen: str | None, choices: Sequence[str | None]) -> None:
    """Refuses what is not among the choices."""
    if chosen not in choices:
        named = ", ".join(choice for choice in choices if choice is not None)
        allowed = f"None or one of {named}" if None in choices else f"one of {named}"
        raise UserError(f"{name} must be {allowed}, got {chosen!r}")


def check_static(name: str, value: Hashable) -> None:
    """Refuses what cannot be hashed: a model of it could not be compiled."""
    try:
        hash(value)
    except TypeError:
        raise UserError(
            f"{name} must be made of numbers, strings and tuples, got {value!r}"
        ) from None
