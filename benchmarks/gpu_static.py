"""What the compiler makes of attention kernels for a Hopper GPU that is not here.

    python -m benchmarks.gpu_static --causal --rows softmax relu --widths 64 128

compiles forward and backward for sm_90a and prints of every kernel:

- registers spilled to memory (bytes stored), shared memory in KiB;
- wgmma: matrix instructions; MUFU: transcendentals per score of a tile;
- per score: instructions of the loop over blocks, each of which a scheduler issues in
  one cycle for 32 threads. Of one warpgroup a block of 64 x 128 scores takes as many
  cycles as the tensor cores need at width 64 if there are 8 per score, at 128 if 16.

Waits and memory are not in the code: it ranks kernels, it does not time them.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import gpu_target

T, HEADS = 4096, 8
WIDTHS = (64, 128, 256)
ROWS = (
    "softmax",
    "softmax1+cap",
    "sigsoftmax",
    "softpick",
    "logistic_softmax",
    "multimax",
    "relu",
    "relu_power",
    "relu_power(power=3)",
    "sigmoid",
    "entmax15",
    "sparsemax",
    "entmax",
    "softmax+bias",
    "softmax+mask",
)
PEER = "mgpu"
DUMPS = ("MOSAIC_GPU_DUMP_PTXAS", "MOSAIC_GPU_DUMP_PTX")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What one kernel was compiled to."""

    name: str
    spills: int
    shared_memory: int
    matrix: int
    transcendental: float
    instructions: float
    walks: tuple[float, ...]  # instructions of every loop, in the order of the code


def kernels(folder: Path) -> Iterator[Kernel]:
    """What the compiler has left."""
    for report in sorted(folder.glob("*.ptxas")):
        stem = re.sub(r"_\d+$", "", report.stem)
        name = stem.removeprefix("softmax_jax_")
        code = report.with_suffix(".sass_ctrl").read_text().splitlines()
        loops = _loops(code)
        loop = max(loops, key=_worth)
        # A product of 64 rows with keys comes first; 128 threads hold it.
        first = re.search(r"HGMMA\.64x(\d+)x", "\n".join(code))
        scores = int(first[1]) / 2 if first else 1
        found = re.search(r"(\d+) bytes spill stores", report.read_text())
        resources = max(x.read_text() for x in folder.glob(f"{stem}_*.resources.txt"))
        memory = re.search(r"smem_scratch_bytes=(\d+)", resources)
        yield Kernel(
            name,
            int(found[1]) if found else -1,
            int(memory[1]) if memory else -1,
            sum("HGMMA" in line for line in code),
            sum("MUFU" in line for line in loop) / scores,
            len(loop) / scores,
            tuple(len(loop) / scores for loop in loops),
        )


INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,5})\*/")
# The way back from where a warp waits has no condition, and closes no loop.
JUMP = re.compile(r"@!?U?P\d BRA(?:\.\w+)* .*`\((\.L_x_\d+)\)")


def _loops(code: list[str]) -> list[list[str]]:
    """The instructions of loops with products and without such loops in them."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    jumps: list[tuple[int, str]] = []
    for line in code:
        if line.startswith(".L_x_"):
            labels[line.split(":")[0]] = len(lines)
        if INSTRUCTION.search(line):
            jump = JUMP.search(line)
            if jump:
                jumps.append((len(lines), jump[1]))
            lines.append(line)
    ends = [(labels[to], at + 1) for at, to in jumps if labels[to] <= at]
    ends = [x for x in ends if _products(lines[slice(*x)])]
    # Of a loop with several ways back, the longest is all of it.
    ends = [x for x in ends if not any(x[0] == y[0] and x[1] < y[1] for y in ends)]
    inner = [
        x
        for x in ends
        if not any(x != y and x[0] <= y[0] and y[1] <= x[1] for y in ends)
    ]
    return [lines[slice(*x)] for x in sorted(inner)]


def _products(loop: list[str]) -> int:
    return sum("HGMMA" in line for line in loop)


def _worth(loop: list[str]) -> tuple[int, int]:
    """The shortest loop among those with most products does whole blocks."""
    return _products(loop), -len(loop)


def compiled(row: str, width: int, *, causal: bool = False) -> list[Kernel]:
    """Compiles a row, forward and backward; each kernel is compiled once a process."""
    import jax
    import jax.numpy as jnp

    one = gpu_target.sharding()
    build = _peer if row == PEER else _ours
    attend, leaves, dtype = build(row, width, causal)
    x = jax.ShapeDtypeStruct((1, T, HEADS, width), dtype, sharding=one)
    numbers = [jax.ShapeDtypeStruct((HEADS,), jnp.float32, sharding=one)] * leaves
    pairs = {
        name: jax.ShapeDtypeStruct((1, HEADS, T, T), kind, sharding=one)
        for name, kind in (("bias", jnp.float32), ("mask", jnp.bool_))
        if name in row.split("+")
    }

    def both(q, k, v, numbers, pairs, do):
        mask = pairs.get("mask")

        def f(q, k, v, numbers, bias):
            return attend(q, k, v, numbers, bias, mask)

        o, pull = jax.vjp(f, q, k, v, numbers, pairs.get("bias"))
        return o, pull(do)

    with _left_behind() as folder:
        jax.jit(both).lower(x, x, x, numbers, pairs, x).compile()
        return list(kernels(folder))


@contextlib.contextmanager
def _left_behind() -> Iterator[Path]:
    """A folder in which the compiler leaves reports and code."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= dict.fromkeys(DUMPS, "1") | {"MOSAIC_GPU_DUMP_TO": folder}
        try:
            yield Path(folder)
        finally:
            for name in (*DUMPS, "MOSAIC_GPU_DUMP_TO"):
                del os.environ[name]


def _ours(row: str, width: int, causal: bool) -> tuple[Callable, int, Any]:
    """A row of the catalogue, with "cap", "bias" or "mask" after a plus; gradients to
    all parameters and to a bias of every score."""
    import jax
    import jax.numpy as jnp

    import softmax_jax as sj
    from softmax_jax.attention.arrange import arrange
    from softmax_jax.attention.kernels.mosaic_gpu.attend import mosaic_gpu
    from softmax_jax.attention.kernels.prepare import is_bounded
    from softmax_jax.attention.kernels.twins import constants

    spec, *options = row.split("+")
    normalizer = sj.parse(spec)
    known = constants(normalizer)
    leaves, tree = jax.tree.flatten(normalizer)
    nothing = ("query_seq_lengths", "key_value_seq_lengths", "local_window_size")

    def attend(q, k, v, numbers, bias=None, mask=None):
        operands, offset = arrange(
            q,
            k,
            v,
            bias,
            mask,
            tree.unflatten(numbers),
            None,
            is_causal=causal,
            segment_ids=None,
            query_offset=None,
            **dict.fromkeys(nothing),
        )
        cap = 50.0 if "cap" in options else None
        sure = dict(known=known, bounded=is_bounded(normalizer, None, cap, bias))
        o = mosaic_gpu(operands, width**-0.5, cap, offset=offset, **sure)
        return jnp.moveaxis(o.reshape(o.shape[0], -1, *o.shape[3:]), 1, 2)

    return attend, len(leaves), jnp.bfloat16


def _peer(row: str, width: int, causal: bool) -> tuple[Callable, int, Any]:
    """The kernels in JAX, whose backward pass is not causal, in float16."""
    import jax.numpy as jnp
    from jax.experimental.pallas.ops.gpu import attention_mgpu as module

    class Versions:
        """Stands for the driver that is not here."""

        @staticmethod
        def cuda_runtime_get_version() -> int:
            return 13000

    module.cuda_versions = Versions
    names = ("block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
    config = module.TuningConfig(
        block_q=64,
        block_kv=128 if width <= 128 else 64,
        max_concurrent_steps=2,
        causal=causal,
        compute_wgs_bwd=2 if width <= 128 else 1,
        **dict.fromkeys(names, 64),
    )

    def attend(q, k, v, numbers, bias, mask):
        return module.attention(q, k, v, config)

    return attend, 0, jnp.float16


def print_table(rows: list[str], widths: list[int], *, causal: bool) -> None:
    kind = "causal" if causal else "full"
    print(f"sm_90a, T = {T}, {HEADS} heads, {kind}")
    print("| row | width | kernel | spills | KiB | wgmma | MUFU | per score | walks |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---|")
    for row in rows:
        for width in widths:
            for found in compiled(row, width, causal=causal):
                print(
                    f"| {row} | {width} | {found.name} | {found.spills} | "
                    f"{found.shared_memory / 1024:.0f} | {found.matrix} | "
                    f"{found.transcendental:.2f} | {found.instructions:.1f} | "
                    f"{', '.join(f'{x:.1f}' for x in found.walks)} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", metavar="ROW")
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--causal", action="store_true")
    arguments = parser.parse_args()
    # Before JAX looks for a driver.
    os.environ |= gpu_target.environment()
    lacking = gpu_target.missing()
    if lacking:
        raise SystemExit(lacking)
    # The backward pass of the peer is not causal.
    rows = arguments.rows or (list(ROWS) if arguments.causal else [PEER, *ROWS])
    print_table(rows, arguments.widths, causal=arguments.causal)


if __name__ == "__main__":
    main()
