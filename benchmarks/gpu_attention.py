"""Attention on a Hopper GPU: time, TFLOP/s, error and memory, beside its peers.

    python -m benchmarks.gpu_attention --out gpu_attention

Rows of the catalogue and every peer that is installed (cuDNN and XLA through `jax.nn`,
tokamax, and of PyTorch scaled_dot_product_attention, FlexAttention and AdaSplash), of
16,384 tokens of hidden size 2048 in bfloat16, forward and backward, in one process. By
default what matters most, which is 4096 tokens at all widths, and entmax at 4k, 16k
and 64k; with `--all`, lengths of 512 to 16k and more rows.

Times are medians of kernels' own times on the device (CUPTI; CUDA events under
PyTorch). A product of T x S scores of width d counts as 2 T S d operations, two forward
and five backward, half of them if causal. The error is that of the outputs of one head
to the reference in float32, over its largest number. After every measurement OUT.json
and OUT.md are written, so that a run that is cut off leaves what it has found; one that
begins again with the same OUT goes on from there.

`--dry-run` compiles causal kernels of all widths for sm_90a with no GPU at hand, each
once; with `--all`, the others too. It writes OUT-dry.json and OUT-dry.md.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import softmax_jax as sj
from benchmarks import gpu_target
from benchmarks.gpu_peers import HIDDEN, TOKENS, Attend, Contestant, Shape, everybody
from softmax_jax.training.progress import progress_bar

LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384)
LONG = (4096, 16_384, 65_536)
WIDTHS = (128, 64, 256)
ROWS = (
    "softmax",
    "sigmoid",
    "relu_power",
    "sigsoftmax",
    "softpick",
    "softmax1+cap",
    "entmax15",
)
MORE_ROWS = (
    "ssmax",
    "softmax1",
    "logistic_softmax",
    "relu",
    "sparsemax",
    "entmax(alpha=1.25)",
    "multimax",
)
REPEATS = 20


@dataclasses.dataclass(frozen=True)
class Figures:
    """Milliseconds forward, and forward and backward; error; MiB beside operands."""

    forward: float
    both: float
    error: float
    mib: float


def shapes(arguments: argparse.Namespace) -> list[tuple[Shape, tuple[str, ...]]]:
    """What is measured, what matters most first, and the rows of it."""
    rows = ROWS + MORE_ROWS if arguments.all else ROWS
    lengths = LENGTHS if arguments.all else (4096,)
    lengths = (max(lengths),) if arguments.dry_run else lengths
    few = arguments.dry_run and not arguments.all
    found = [
        (Shape(length, width, causal), rows)
        for width in arguments.widths
        for causal in ((True,) if few else (True, False))
        for length in sorted(lengths, reverse=True)
    ]
    if not arguments.dry_run:
        sparse = ("softmax", "entmax15")
        long = [(Shape(length, 128, True), sparse) for length in LONG]
        found += [x for x in long if x[0] not in [shape for shape, _ in found]]
    return found


def with_gradients(attend: Attend) -> Callable[..., Any]:
    def both(q, k, v, do):
        o, pull = jax.vjp(attend, q, k, v)
        return o, pull(do)

    return both


def measured(shape: Shape, contestant: Contestant) -> Figures:
    """On the device, with its outputs compared."""
    from jax.experimental.mosaic.gpu import profiler

    draw = functools.partial(jax.random.normal, dtype=jnp.bfloat16)
    keys = jax.random.split(jax.random.key(0), 4)
    *qkv, do = (draw(key, shape.dimensions) for key in keys)
    attend = contestant.attend
    forward = jax.jit(attend).lower(*qkv).compile()
    both = jax.jit(with_gradients(attend)).lower(*qkv, do).compile()
    times = []
    for program, arguments in ((forward, qkv), (both, [*qkv, do])):
        jax.block_until_ready(program(*arguments))
        _, runs = profiler.measure(program, iterations=REPEATS)(*arguments)
        times.append(statistics.median(runs))
    mib = both.memory_analysis().temp_size_in_bytes / 2**20
    head = [np.asarray(x[0, :, 0].astype(jnp.float32)) for x in (forward(*qkv), *qkv)]
    return Figures(*times, error(shape, contestant.row, *head), mib)


def torch_measured(shape: Shape, contestant: Contestant) -> Figures:
    """By CUDA events."""
    import torch

    batch, length, heads, width = shape.dimensions
    size = batch, heads, length, width
    make = functools.partial(torch.randn, size, device="cuda", dtype=torch.bfloat16)
    q, k, v = (make(requires_grad=True) for _ in "qkv")
    do = make()

    def forward() -> Any:
        with torch.no_grad():
            return contestant.attend(q, k, v)

    def both() -> Any:
        q.grad = k.grad = v.grad = None
        contestant.attend(q, k, v).backward(do)

    times, before = [], torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
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
    mib = (torch.cuda.max_memory_allocated() - before) / 2**20
    head = [x[0, 0].detach().float().cpu().numpy() for x in (forward(), q, k, v)]
    return Figures(*times, error(shape, contestant.row, *head), mib)


def error(shape: Shape, row: str, output: Any, q: Any, k: Any, v: Any) -> float:
    """Of a head, to the reference in float32, by blocks."""
    name, *options = row.split("+")
    operands = [jnp.asarray(x)[None, :, None] for x in (q, k, v)]
    expected = sj.dot_product_attention(
        *operands,
        normalizer=name,
        is_causal=shape.causal,
        logits_soft_cap=50.0 if "cap" in options else None,
        implementation="chunked",
    )
    expected = np.asarray(expected)[0, :, 0]
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def compiled(shape: Shape, contestant: Contestant) -> dict[str, Any]:
    """For a GPU that is not here."""
    one = gpu_target.sharding()
    x: Any = jax.ShapeDtypeStruct(shape.dimensions, jnp.bfloat16, sharding=one)
    both = with_gradients(contestant.attend)
    program = jax.jit(both).lower(x, x, x, x).compile()
    return {"mib": program.memory_analysis().temp_size_in_bytes / 2**20}


def found(shape: Shape, contestant: Contestant, *, dry: bool) -> dict[str, Any]:
    """What is written down of a contestant; what it cannot do is its own sentence."""
    result: dict[str, Any] = dataclasses.asdict(shape) | {"name": contestant.name}
    start = time.perf_counter()
    measure = torch_measured if contestant.torch else measured
    try:
        if dry:
            result |= compiled(shape, contestant)
        else:
            result |= dataclasses.asdict(measure(shape, contestant))
    except Exception as reason:
        # A peer that fails is a line of the table.
        lines = str(reason).splitlines() or [type(reason).__name__]
        result["failed"] = lines[0][:120]
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def line(result: dict[str, Any]) -> str:
    """A row of the table; the backward pass is what both take, less the forward."""
    name = result["name"]
    if "failed" in result:
        return f"| {name} | {result['failed']} |"
    if "forward" not in result:
        return f"| {name} | compiled | | | | | {result['mib']:.0f} |"
    shape = Shape(result["length"], result["width"], result["causal"])
    forward, backward = result["forward"], result["both"] - result["forward"]
    speeds = [
        shape.operations(products) / milliseconds / 1e9 if milliseconds > 0 else 0
        for products, milliseconds in ((2, forward), (5, backward))
    ]
    return (
        f"| {name} | {forward:.3f} | {speeds[0]:.0f} | {backward:.3f} | "
        f"{speeds[1]:.0f} | {result['error']:.1e} | {result['mib']:.0f} |"
    )


def written(out: Path, results: list[dict[str, Any]]) -> None:
    """OUT.json, and OUT.md with a table of every shape."""
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    device = jax.devices()[0].device_kind
    text = [
        f"jax {jax.__version__}, {device}, {TOKENS} tokens, hidden size {HIDDEN}, "
        f"bfloat16, {time.strftime('%Y-%m-%d')}"
    ]
    shape = None
    for result in results:
        new = Shape(result["length"], result["width"], result["causal"])
        if new != shape:
            shape, kind = new, "causal" if new.causal else "full"
            text += ["", f"T = {new.length}, width {new.width}, {kind}", ""]
            text += ["| | forward ms | TFLOP/s | backward ms | TFLOP/s | error | MiB |"]
            text += ["|---|---:|---:|---:|---:|---:|---:|"]
        text.append(line(result))
    out.with_suffix(".md").write_text("\n".join(text) + "\n")


def run(arguments: argparse.Namespace) -> None:
    out, dry = arguments.out, arguments.dry_run
    if dry:
        out = out.with_name(f"{out.name}-dry")
    results = []
    if out.with_suffix(".json").exists() and not dry:
        results = json.loads(out.with_suffix(".json").read_text())
    done = {(x["length"], x["width"], x["causal"], x["name"]) for x in results}
    todo = [
        (shape, contestant)
        for shape, rows in shapes(arguments)
        for contestant in everybody(shape, rows)
        if (*dataclasses.astuple(shape), contestant.name) not in done
    ]
    with progress_bar(len(todo), "compiled" if dry else "measured") as bar:
        for shape, contestant in todo:
            results.append(found(shape, contestant, dry=dry))
            written(out, results)
            bar.update(length=shape.length, width=shape.width, last=contestant.name)
    print(out.with_suffix(".md").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_attention"))
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--all", action="store_true", help="all lengths, more rows")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    if arguments.dry_run and gpu_target.missing():
        raise SystemExit(gpu_target.missing())
    # PyTorch needs memory of the same GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if not arguments.dry_run and jax.default_backend() != "gpu":
        raise SystemExit(
            "There is no GPU here; --dry-run compiles for one all the same."
        )
    run(arguments)


if __name__ == "__main__":
    main()
