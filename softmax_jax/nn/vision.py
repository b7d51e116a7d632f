"""A Vision Transformer in the manner of DeiT; attention takes any normalizer."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from softmax_jax.errors import UserError
from softmax_jax.nn.attention import Attended
from softmax_jax.nn.blocks import make_blocks, make_norm, run_blocks
from softmax_jax.nn.config import StyledConfig, check_choice

POOLINGS = ("token", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionTransformerConfig(StyledConfig):
    """Images [image_size, image_size, channels] in squares of `patch` to `classes`.

    The logits are read off a class token ("token") or the mean of the patches ("mean").
    The defaults are DeiT-Ti's; DeiT-S has width 384 and 6 heads.
    Touvron et al., https://arxiv.org/abs/2012.12877.
    """

    classes: int
    image_size: int = 224
    patch: int = 16
    channels: int = 3
    pooling: str = "token"
    layers: int = 12
    width: int = 192
    heads: int = 3
    positions: str = "learned"
    mlp: str = "gelu"
    norm: str = "layer"
    attention_bias: bool = True

    POSITIONS: ClassVar[tuple[str, ...]] = ("learned", "none")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classes", "image_size", "channels"):
            size = getattr(self, name)
            if size < 0:
                raise UserError(f"{name} must not be below 0, got {size}")
        if self.patch < 1:
            raise UserError(f"patch must be at least 1, got {self.patch}")
        if self.image_size % self.patch:
            raise UserError(
                f"image_size must be a multiple of patch, got {self.image_size} and "
                f"{self.patch}"
            )
        check_choice("pooling", self.pooling, POOLINGS)

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch) ** 2


class VisionTransformer(nnx.Module):
    """Images to logits over classes."""

    def __init__(self, config: VisionTransformerConfig, *, rngs: nnx.Rngs):
        self.config = config
        width, dtype = config.width, jnp.dtype(config.dtype)
        draw = nnx.initializers.truncated_normal(0.02)
        pixels = config.patch**2 * config.channels
        self.patch = nnx.Linear(pixels, width, dtype=dtype, rngs=rngs)
        tokens = config.patches
        if config.pooling == "token":
            self.class_token = nnx.Param(draw(rngs.params(), (1, 1, width)))
            tokens += 1
        if config.positions == "learned":
            self.positions = nnx.Param(draw(rngs.params(), (1, tokens, width)))
        self.blocks = make_blocks(config, causal=False, rngs=rngs)
        self.final_norm = make_norm(config, rngs=rngs)
        self.head = nnx.Linear(width, config.classes, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b classes"]:
        """Float32 logits."""
        return self.run(images)[0]

    def run(
        self, images: Float[Array, "b h w c"], **options
    ) -> tuple[Array, list[Attended]]:
        """Logits, and what each layer gave back; `return_weights` asks for weights."""
        config = self.config
        x = self.patch(patches(images, config).astype(jnp.dtype(config.dtype)))
        if config.pooling == "token":
            token = self.class_token[...].astype(x.dtype)
            token = jnp.broadcast_to(token, (len(x), *token.shape[1:]))
            x = jnp.concatenate([token, x], axis=1)
        if config.positions == "learned":
            x = x + self.positions[...].astype(x.dtype)
        x, layers = run_blocks(self.blocks, x, remat=config.remat, **options)
        x = self.final_norm(x)
        pooled = x[:, 0] if config.pooling == "token" else x.mean(1)
        return self.head(pooled).astype(jnp.float32), layers


def patches(images: Array, config: VisionTransformerConfig) -> Array:
    """[B, (H / p) (W / p), p p C] of images [B, H, W, C], row by row."""
    size, patch, channels = config.image_size, config.patch, config.channels
    if images.shape[1:] != (size, size, channels):
        raise UserError(
            f"images must be [B, {size}, {size}, {channels}], got {images.shape}"
        )
    side = size // patch
    grid = images.reshape(-1, side, patch, side, patch, channels)
    grid = jnp.moveaxis(grid, 3, 2)
    return grid.reshape(-1, side * side, patch * patch * channels)
