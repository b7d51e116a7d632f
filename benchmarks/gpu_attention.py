"""Attention on a Hopper GPU: time, TFLOP/s, error and memory, beside its peers.

    python -m benchmarks.gpu_attention --lengths 512 4096 16384 --widths 64 128 256

works through 16,384 tokens of hidden size 2048 in bfloat16, forward and backward, in
one process, every normalizer and every peer that is installed: cuDNN and XLA through
`jax.nn`, tokamax, and of PyTorch scaled_dot_product_attention, FlexAttention and
AdaSplash. Times are medians over kernels' own times on the device (CUPTI, or CUDA
events under PyTorch), without launches. A product of T x S scores of width d counts as
2 T S d operations, two forward and five backward, half of them if causal; the error is
that of the outputs of one head to the reference in float32, over its largest number.

`--dry-run` compiles all of it for sm_90a with no GPU at hand, as far as that goes.
"""

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import softmax_jax as sj
from benchmarks import gpu_target

TOKENS, HIDDEN = 16_384, 2048
LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384)
WIDTHS = (64, 128, 256)
ROWS = (
    "softmax",
    "ssmax",
    "softmax1",
    "sigsoftmax",
    "softpick",
    "logistic_softmax",
    "relu",
    "relu_power",
    "sigmoid",
    "entmax15",
    "sparsemax",
)
REPEATS = 20
# Heads of one example that are compared with the reference.
COMPARED = 1


@dataclasses.dataclass(frozen=True)
class Shape:
    """[batch, length, heads, width] of 16,384 tokens and 2048 channels."""

    length: int
    width: int
    causal: bool

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        batch, heads = max(TOKENS // self.length, 1), HIDDEN // self.width
        return batch, self.length, heads, self.width

    def operations(self, products: int) -> float:
        batch, length, heads, width = self.dimensions
        share = 0.5 if self.causal else 1.0
        return 2.0 * products * batch * heads * length**2 * width * share


@dataclasses.dataclass(frozen=True)
class Figures:
    """Milliseconds forward, and forward and backward; error; MiB beside operands."""

    forward: float
    both: float
    error: float | None
    mib: float | None


Attend = Callable[[Array, Array, Array], Array]


def contestants(shape: Shape) -> Iterator[tuple[str, str, Attend]]:
    """Name, the row that it computes, and how, of what runs under JAX."""
    causal = shape.causal
    for row in ROWS:
        ours = functools.partial(
            sj.dot_product_attention,
            normalizer=row,
            is_causal=causal,
            implementation="mosaic_gpu",
        )
        yield f"ours {row}", row, ours
    for name in ("cudnn", "xla"):
        theirs = functools.partial(
            jax.nn.dot_product_attention, is_causal=causal, implementation=name
        )
        yield f"jax.nn {name}", "softmax", theirs
    if find_spec("tokamax") is not None:
        import tokamax

        theirs = functools.partial(tokamax.dot_product_attention, is_causal=causal)
        yield "tokamax", "softmax", theirs


def with_gradients(attend: Attend) -> Callable[..., Any]:
    def both(q, k, v, do):
        o, pull = jax.vjp(attend, q, k, v)
        return o, pull(do)

    return both


def measured(shape: Shape, row: str, attend: Attend, operands: list[Array]) -> Figures:
    """On the device, with its outputs compared."""
    from jax.experimental.mosaic.gpu import profiler

    *qkv, _ = operands
    programs = [
        jax.jit(attend).lower(*qkv).compile(),
        jax.jit(with_gradients(attend)).lower(*operands).compile(),
    ]
    times = []
    for program, arguments in zip(programs, (qkv, operands), strict=True):
        jax.block_until_ready(program(*arguments))
        _, runs = profiler.measure(program, iterations=REPEATS)(*arguments)
        times.append(statistics.median(runs))
    mib = programs[1].memory_analysis().temp_size_in_bytes / 2**20
    return Figures(*times, error(shape, row, programs[0](*qkv), qkv), mib)


def error(shape: Shape, row: str, output: Array, qkv: list[Array]) -> float:
    """Of a head, to the reference in float32."""
    part = [x[:1, :, :COMPARED].astype(jnp.float32) for x in qkv]
    expected = sj.dot_product_attention(
        *part, normalizer=row, is_causal=shape.causal, implementation="chunked"
    )
    found = np.asarray(output[:1, :, :COMPARED], np.float32)
    largest = np.abs(np.asarray(expected)).max()
    return float(np.abs(found - np.asarray(expected)).max() / largest)


def torch_contestants(shape: Shape) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What runs under PyTorch, on [batch, heads, length, width]."""
    if find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        return
    sdpa = torch.nn.functional.scaled_dot_product_attention
    yield "torch SDPA", functools.partial(sdpa, is_causal=shape.causal)
    from torch.nn.attention import flex_attention as flex

    block_mask = None
    if shape.causal:
        length = shape.length
        block_mask = flex.create_block_mask(
            lambda b, h, i, j: i >= j, None, None, length, length
        )
    compiled = torch.compile(flex.flex_attention)
    yield "FlexAttention", functools.partial(compiled, block_mask=block_mask)
    if find_spec("adasplash") is not None:
        import adasplash

        yield (
            "AdaSplash 1.5",
            functools.partial(adasplash.adasplash, alpha=1.5, is_causal=shape.causal),
        )


def torch_measured(shape: Shape, attend: Callable[..., Any]) -> Figures:
    """By CUDA events."""
    import torch

    batch, length, heads, width = shape.dimensions
    size = batch, heads, length, width
    make = functools.partial(torch.randn, size, device="cuda", dtype=torch.bfloat16)
    q, k, v = (make(requires_grad=True) for _ in "qkv")
    do = make()

    def both() -> None:
        attend(q, k, v).backward(do)

    def forward() -> None:
        with torch.no_grad():
            attend(q, k, v)

    times = []
    for run in (forward, both):
        seconds = []
        for _ in range(REPEATS + 3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            seconds.append(start.elapsed_time(end))
        times.append(statistics.median(seconds[3:]))
    return Figures(*times, None, torch.cuda.max_memory_allocated() / 2**20)


def dry_run(attend: Attend, shape: Shape) -> str:
    """Compiles for a GPU that is not here, and says how far that went."""
    one = gpu_target.sharding()
    x = jax.ShapeDtypeStruct(shape.dimensions, jnp.bfloat16, sharding=one)
    program = jax.jit(with_gradients(attend)).lower(x, x, x, x).compile()
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    return f"compiled, {mib:.0f} MiB beside operands"


def line(name: str, shape: Shape, found: Figures) -> str:
    """A row of the table; the backward pass is what both take, less the forward."""
    speed = [
        shape.operations(products) / milliseconds / 1e9
        for products, milliseconds in (
            (2, found.forward),
            (5, found.both - found.forward),
        )
    ]
    accuracy = "-" if found.error is None else f"{found.error:.1e}"
    memory = "-" if found.mib is None else f"{found.mib:.0f}"
    return (
        f"| {name} | {found.forward:.3f} | {speed[0]:.0f} | "
        f"{found.both - found.forward:.3f} | {speed[1]:.0f} | {accuracy} | {memory} |"
    )


def table(shape: Shape, *, dry: bool) -> None:
    kind = "causal" if shape.causal else "full"
    print(f"\nT = {shape.length}, width {shape.width}, {kind}, {shape.dimensions}\n")
    print("| | forward ms | TFLOP/s | backward ms | TFLOP/s | error | MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    keys = jax.random.split(jax.random.key(0), 4)
    operands = []
    if not dry:
        draw = functools.partial(jax.random.normal, dtype=jnp.bfloat16)
        operands = [draw(key, shape.dimensions) for key in keys]
    for name, row, attend in contestants(shape):
        try:
            if dry:
                print(f"| {name} | {dry_run(attend, shape)} |", flush=True)
            else:
                found = measured(shape, row, attend, operands)
                print(line(name, shape, found), flush=True)
        except (NotImplementedError, RuntimeError, ValueError) as reason:
            print(f"| {name} | {str(reason).splitlines()[0][:100]} |", flush=True)
    for name, theirs in () if dry else torch_contestants(shape):
        print(line(name, shape, torch_measured(shape, theirs)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    if arguments.dry_run and gpu_target.missing():
        raise SystemExit(gpu_target.missing())
    if not arguments.dry_run and jax.default_backend() != "gpu":
        raise SystemExit(
            "There is no GPU here; --dry-run compiles for one all the same."
        )
    print(f"jax {jax.__version__}, {TOKENS} tokens, hidden size {HIDDEN}, bfloat16")
    for width in arguments.widths:
        for causal in (False, True):
            for length in arguments.lengths:
                table(Shape(length, width, causal), dry=arguments.dry_run)


if __name__ == "__main__":
    main()
