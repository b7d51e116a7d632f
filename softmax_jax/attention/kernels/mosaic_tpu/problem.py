"""What a kernel is given: arrays in its layout, and what of the call is static."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from softmax_jax.attention.kernels.kinds import kinds
from softmax_jax.attention.kernels.mosaic_tpu.call import LANES, Blocks
from softmax_jax.attention.kernels.mosaic_tpu.visits import column_of, row_of
from softmax_jax.attention.kernels.places import Places
from softmax_jax.attention.kernels.tiles import Rows, Tile
from softmax_jax.attention.masks import Window


class Inputs(NamedTuple):
    """What has derivatives. Sizes of 1 along B, K and G are shared."""

    q: Array  # [B, K, G, T, D]
    k: Array  # [B, K, 1, D, S]
    v: Array  # [B, K, 1, V, S]
    fold: Array  # [B, K, G, T, 1], what q is multiplied by
    bias: Array | None  # [B, K, G, T, S]
    log_c: Array | None  # [B, K, G, 1, T], in the units of the log weights
    rows: Rows  # each [B, K, G, 1, T]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is static of a call."""

    tile: Tile
    blocks: Blocks
    causal: bool
    window: Window
    offset: int | None  # of the first query, where all positions are static
    lengths: tuple[int, int]  # T and S before they were padded
    back: Blocks | None = None  # of the backward kernel, if these are others
    roomy: bool = False  # see `chips.roomy`

    def starting_at(self, row: int) -> "Problem":
        """The problem of the queries from this row on."""
        offset = None if self.offset is None else self.offset + row
        lengths = self.lengths[0] - row, self.lengths[1]
        return dataclasses.replace(self, offset=offset, lengths=lengths)

    def backwards(self) -> "Problem":
        """With the tiles of the backward kernel."""
        return dataclasses.replace(self, blocks=self.back or self.blocks)

    def kinds(self, places: Places, bias: Array | None) -> Any:
        """What the mask says of every tile, [B or 1, rows, columns]."""
        return kinds(
            places,
            (self.blocks.q, self.blocks.k),
            causal=self.causal,
            window=self.window,
            offset=self.offset,
            lengths=self.lengths,
            masked=bias is not None or places.boolean is not None,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Support:
    """Which tiles, of a size, hold a score above the threshold of its row."""

    touched: Array  # [B, K, G, rows, columns]
    blocks: Blocks = dataclasses.field(metadata={"static": True})

    def of(self, blocks: Blocks) -> Array:
        """The same of tiles of another size, as int32."""
        fine = self.touched
        for axis, size in ((3, self.blocks.q), (4, self.blocks.k)):
            fine = jnp.repeat(fine, size // LANES, axis=axis)
        lead, (rows, columns) = fine.shape[:3], fine.shape[3:]
        q, k = blocks.q // LANES, blocks.k // LANES
        parts = fine.reshape(*lead, rows // q, q, columns // k, k)
        return parts.any((4, 6)).astype(jnp.int32)


def flat(active: Array | None) -> Array | None:
    return None if active is None else active.reshape(*active.shape[:3], -1)


def where_active(
    word: Any, columns: int, refs: dict[str, Any], step: Callable[..., None]
) -> Callable[..., None]:
    """step, left out for a tile without anything of a support."""
    if "active" not in refs:
        return step

    def maybe(*, masked: bool) -> None:
        active = refs["active"][row_of(word) * columns + column_of(word)]
        pl.when(active != 0)(functools.partial(step, masked=masked))

    return maybe


def visible(
    problem: Problem,
    q_position: Any,
    k_position: Any,
    q_segment: Any,
    k_segment: Any,
    boolean: Any,
    bias: Any,
) -> Array | None:
    """Which keys of a tile each query sees; arguments broadcast against the tile."""
    said = []
    ahead = k_position - q_position
    if problem.causal:
        said.append(ahead <= 0)
    if problem.window is not None:
        left, right = problem.window
        said += [ahead >= -left, ahead <= right]
    if q_segment is not None:
        said.append(k_segment == q_segment)
    if boolean is not None:
        said.append(boolean != 0)
    if bias is not None:
        said.append(bias != -jnp.inf)
    result = None
    for part in said:
        result = part if result is None else result & part
    return result


def out(like: Array, *last: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """An output with the leading axes of `like`."""
    return jax.ShapeDtypeStruct((*like.shape[:3], *last), dtype)
