"""The compiler for Hopper GPUs takes every row, and spills nothing below width 256."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import gpu_target
from benchmarks.gpu_static import ROWS, WIDTHS, compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        gpu_target.missing() is not None, reason=str(gpu_target.missing())
    ),
]
# Transcendentals per score: of weights, and of weights with their slopes.
EXPECTED = {
    "softmax": (1, 1),
    "softmax1+cap": (2, 2),
    "sigsoftmax": (2, 2.5),
    "softpick": (1, 1.5),
    "logistic_softmax": (3, 4),
    "multimax": (1, 1),
    "relu": (0, 0),
    "relu_power": (0, 0),
    "relu_power(power=3)": (2, 3),
    "sigmoid": (2, 2),
}
# Bytes that a thread lacks registers for at width 256, in rows of many operations.
SPILLED = {
    "sigsoftmax": 44,
    "softpick": 8,
    "logistic_softmax": 112,
    "relu_power(power=3)": 52,
    "multimax": 720,
    "sigmoid": 4,
}
MOST_SHARED_MEMORY = 227 << 10


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("row", ROWS)
def test_every_row(row, width):
    found = compiled(row, width, causal=True)
    assert {kernel.name for kernel in found} == {"forward", "dq", "dkv"}
    for kernel in found:
        assert kernel.matrix > 0
        spilled = SPILLED.get(row, 0) if width == 256 else 0
        assert kernel.spills <= spilled, f"{kernel.name}: {kernel.spills} bytes"
        assert kernel.shared_memory <= MOST_SHARED_MEMORY
        # A few more belong to rows, once per block.
        most = EXPECTED[row][kernel.name != "forward"] + 0.2
        assert kernel.transcendental <= most, f"{kernel.name}"


def test_operands_are_not_copied():
    """The layouts of the caller reach the kernel as they are, heads of groups too."""
    from softmax_jax.attention.arrange import arrange
    from softmax_jax.attention.kernels.mosaic_gpu.attend import mosaic_gpu
    from softmax_jax.catalogue import parse
    from tests.kernels.calls import NOTHING

    one = gpu_target.sharding()

    def attend(q, k, v):
        operands, offset = arrange(
            q, k, v, None, None, parse("softmax"), None, is_causal=True, **NOTHING
        )
        o = mosaic_gpu(operands, 0.125, None, offset=offset)
        return jnp.moveaxis(o.reshape(o.shape[0], -1, *o.shape[3:]), 1, 2)

    q, k = (
        jax.ShapeDtypeStruct((2, 1024, heads, 64), jnp.bfloat16, sharding=one)
        for heads in (8, 2)
    )
    text = jax.jit(attend).lower(q, k, k).compile().as_text()
    assert "mosaic_gpu" in text
    assert " transpose(" not in text and " copy(" not in text
