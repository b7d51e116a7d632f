"""The compiler for Hopper GPUs takes every row, and has registers for all of it."""

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
    "logistic_softmax": (2, 2.5),
    "multimax": (1, 1),
    "relu": (0, 0),
    "relu_power": (0, 0),
    "relu_power(power=3)": (2, 3),
    "sigmoid": (1, 1),
    "entmax15": (0, 0),
    "sparsemax": (0, 0),
    "entmax": (2, 2),
    "softmax+bias": (1, 1),
    "softmax+mask": (1, 1),
}
MOST_SHARED_MEMORY = 227 << 10


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("row", ROWS)
def test_every_row(row, width):
    found = compiled(row, width, causal=True)
    solved = row in ("entmax15", "sparsemax", "entmax")
    first = "threshold" if solved else "forward"
    assert {kernel.name for kernel in found} == {first, "dq", "dkv"}
    for kernel in found:
        assert kernel.matrix > 0
        assert kernel.spills == 0, f"{kernel.name}: {kernel.spills} bytes"
        assert kernel.shared_memory <= MOST_SHARED_MEMORY
        # A few more belong to rows, once per block.
        most = EXPECTED[row][kernel.name in ("dq", "dkv")] + 0.2
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
