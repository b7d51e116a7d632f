"""Who is measured by `gpu_attention`: our rows, and what else is installed.

JAX's own run on [batch, length, heads, width], those of PyTorch on [batch, heads,
length, width].
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import jax

import softmax_jax as sj

TOKENS, HIDDEN = 16_384, 2048
Attend = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Shape:
    """16,384 tokens, or one longer example, and 2048 channels."""

    length: int
    width: int
    causal: bool

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """Batch, length, heads, width."""
        batch, heads = max(TOKENS // self.length, 1), HIDDEN // self.width
        return batch, self.length, heads, self.width

    def operations(self, products: int) -> float:
        """Of so many products of all queries and keys, half of them if causal."""
        batch, length, heads, width = self.dimensions
        share = 0.5 if self.causal else 1.0
        return 2.0 * products * batch * heads * length**2 * width * share


@dataclasses.dataclass(frozen=True)
class Contestant:
    """`row` is what of ours computes the same."""

    name: str
    row: str
    attend: Attend
    torch: bool = False


def ours(shape: Shape, rows: tuple[str, ...]) -> Iterator[Contestant]:
    """Rows of the catalogue, with "cap" after a plus: a soft-cap of 50."""
    for row in rows:
        name, *options = row.split("+")
        attend = functools.partial(
            sj.dot_product_attention,
            normalizer=name,
            is_causal=shape.causal,
            logits_soft_cap=50.0 if "cap" in options else None,
            implementation="mosaic_gpu",
        )
        yield Contestant(f"ours {row}", row, attend)


def of_jax(shape: Shape) -> Iterator[Contestant]:
    causal = shape.causal
    for name in ("cudnn", "xla"):
        # Scores that XLA holds whole, in float32, and their gradients.
        batch, length, heads, _ = shape.dimensions
        if name == "cudnn" or batch * heads * length**2 <= 2**32:
            attend = functools.partial(
                jax.nn.dot_product_attention, is_causal=causal, implementation=name
            )
            yield Contestant(f"jax.nn {name}", "softmax", attend)
    if find_spec("tokamax") is not None:
        import tokamax

        attend = functools.partial(tokamax.dot_product_attention, is_causal=causal)
        yield Contestant("tokamax", "softmax", attend)


def of_torch(shape: Shape) -> Iterator[Contestant]:
    if find_spec("torch") is None:
        return
    import torch
    from torch.nn.attention import flex_attention as flex

    if not torch.cuda.is_available():
        return
    causal, length = shape.causal, shape.length
    sdpa = functools.partial(
        torch.nn.functional.scaled_dot_product_attention, is_causal=causal
    )
    yield Contestant("torch SDPA", "softmax", sdpa, torch=True)
    compiled = torch.compile(flex.flex_attention)
    start = math.log(length)

    @functools.cache
    def block_mask() -> Any:
        if not causal:
            return None
        return flex.create_block_mask(
            lambda b, h, i, j: i >= j, None, None, length, length
        )

    def plain(q: Any, k: Any, v: Any) -> Any:
        return compiled(q, k, v, block_mask=block_mask())

    def sigmoid(q: Any, k: Any, v: Any) -> Any:
        """Weights by their logarithm: what softmax divides by is multiplied again."""
        o, mass = compiled(
            q,
            k,
            v,
            block_mask=block_mask(),
            score_mod=lambda s, *_: torch.nn.functional.logsigmoid(s - start),
            return_lse=True,
        )
        return o * mass.exp()[..., None].to(o.dtype)

    yield Contestant("FlexAttention", "softmax", plain, torch=True)
    yield Contestant("FlexAttention log sigmoid", "sigmoid", sigmoid, torch=True)
    if find_spec("adasplash") is not None:
        import adasplash

        sparse = functools.partial(adasplash.adasplash, alpha=1.5, is_causal=causal)
        yield Contestant("AdaSplash 1.5", "entmax15", sparse, torch=True)


def everybody(shape: Shape, rows: tuple[str, ...]) -> list[Contestant]:
    return [*ours(shape, rows), *of_jax(shape), *of_torch(shape)]
