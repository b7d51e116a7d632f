"""What was chosen for a call: how one device works through its heads."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from softmax_jax.attention.chunked import by_blocks
from softmax_jax.attention.kernels.mosaic_gpu.attend import mosaic_gpu
from softmax_jax.attention.kernels.mosaic_gpu.cudnn import cudnn
from softmax_jax.attention.kernels.mosaic_tpu.attend import mosaic_tpu
from softmax_jax.attention.kernels.twins import Constants
from softmax_jax.attention.operands import Operands, over_heads
from softmax_jax.attention.reference import attend
from softmax_jax.attention.statistics import Statistics

OWN_KERNELS = {"mosaic_tpu": mosaic_tpu, "mosaic_gpu": mosaic_gpu}
KERNELS = (*OWN_KERNELS, "cudnn")
Results = tuple[Array, Array | None, Statistics | None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The implementation, the query offset if it is static, and what is wanted."""

    implementation: str
    offset: int | None
    return_weights: bool
    return_stats: bool
    # What is known of the normalizer before its parameters become arrays; whether its
    # log weights are known to be small.
    known: Constants = ()
    bounded: bool = False

    def __post_init__(self) -> None:
        if self.implementation == "reference":
            return
        if self.return_weights:
            raise NotImplementedError(
                f"{self.implementation} never holds the weights that return_weights "
                "asks for"
            )
        if self.implementation in KERNELS and self.return_stats:
            raise NotImplementedError(
                f"{self.implementation} gives no statistics of rows"
            )

    def each_head(self, f: Callable[[Operands], Any], operands: Operands) -> Any:
        """f, which takes rows of one head to a tree of [T, ...], of all heads."""
        if self.implementation == "chunked":
            return by_blocks(f, operands, self.offset)
        return over_heads(jax.vmap, f, operands)

    def attend(
        self, operands: Operands, scale: Array, soft_cap: Array | None
    ) -> Results:
        """[B, K, G, T, ...]: outputs, weights or None, statistics or None."""
        if self.implementation in OWN_KERNELS:
            output = OWN_KERNELS[self.implementation](
                operands,
                scale,
                soft_cap,
                offset=self.offset,
                known=self.known,
                bounded=self.bounded,
            )
            return output, None, None
        if self.implementation == "cudnn":
            output = cudnn(operands, scale, soft_cap, offset=self.offset)
            return output, None, None

        def head(operands: Operands) -> Results:
            found = attend(operands, scale=scale, soft_cap=soft_cap)
            return (
                found.output,
                found.weights if self.return_weights else None,
                found.statistics if self.return_stats else None,
            )

        return self.each_head(head, operands)
