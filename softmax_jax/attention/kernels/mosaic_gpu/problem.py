"""What a kernel for Hopper is given: arrays in its layout, and what is static."""

import dataclasses
from typing import Any, NamedTuple

from jax import Array

from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Sight
from softmax_jax.attention.kernels.tiles import Rows
from softmax_jax.normalizers.base import Threshold


class Inputs(NamedTuple):
    """What has derivatives. T and S are whole blocks, D and V multiples of 64."""

    q: Array  # [B, T, H, D], multiplied by all that multiplies scores
    k: Array  # [B, S, K, D]
    v: Array  # [B, S, K, V]
    bias: Array | None  # [B or 1, H or 1, T or 1, S or 1]
    numbers: Rows  # each [B or 1, H or 1, T or 1]; "log_c" is the constant mass


class Places(NamedTuple):
    """What the mask compares, int32, if its positions are not static."""

    q_position: Array | None = None  # [B or 1, T]
    k_position: Array | None = None  # [B or 1, S]
    q_segment: Array | None = None
    k_segment: Array | None = None
    boolean: Array | None = None  # int8, as a bias
    of_queries: Array | None = None  # the ranges of each block of queries, [.., 4]
    of_keys: Array | None = None


class Lists(NamedTuple):
    """The blocks that a backward walk goes through, if it leaves some out.

    Of each tile: blocks that a mask cuts, then whole ones, and how many there are.
    """

    query_range: Array | None = None  # [B, H, T / 128, 4]
    query_list: Array | None = None  # [B, H, T / 128, S / dq]
    key_range: Array | None = None  # [B, H, S / keys of a tile, 4]
    key_list: Array | None = None  # [B, H, .., T / dkv]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Keys per step of the forward pass, keys and queries per step of the backward."""

    forward: int
    dq: int
    dkv: int

    @property
    def queries(self) -> int:
        """What T is padded to a multiple of."""
        return max(128, self.dkv)

    @property
    def keys(self) -> int:
        """What S is padded to a multiple of."""
        return max(128, self.forward, self.dq)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is static of a call."""

    tile: GpuTile
    sight: Sight
    blocks: Blocks
    wide: bool  # whether two warpgroups share the sums of 64 keys
    light: bool  # whether a score takes few registers
    heavy: bool  # whether it takes so many that a walk can give little beside
    pairs: bool = False  # whether a bias or booleans differ from score to score
    interpreted: bool = False

    @property
    def keys_of_tile(self) -> int:
        """Of one walk along queries."""
        return 64 if self.wide else 128

    @property
    def roomy(self) -> bool:
        """Whether the gradients of parameters may be found beside those of queries."""
        return self.light or not (self.wide or self.blocks.dq > 64)

    @property
    def listed(self) -> bool:
        """Whether backward walks follow a list; gradients to a bias are of all."""
        return self.tile.family is Threshold and not self.pairs

    @property
    def can_hide(self) -> tuple[bool, bool]:
        """Whether the first and the last blocks of a walk along keys may be masked."""
        if self.sight.offset is None:
            return True, True
        low, high = self.sight.reach
        ragged = self.sight.lengths[1] % self.blocks.forward > 0
        return low is not None, high is not None or ragged


def named(**arrays: Any) -> dict[str, Any]:
    """Those that are there."""
    return {name: array for name, array in arrays.items() if array is not None}
