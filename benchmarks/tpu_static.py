"""What the compiler makes of attention kernels for TPUs that are not here.

    python -m benchmarks.tpu_static --target v5e --rows splash flash softmax relu

compiles each program for the target, in a process of its own, and prints what the
final schedules of its kernels hold, per tile of 512 queries and 512 keys:

- step: VLIW bundles of the code that works on one tile, which is what runs again and
  again (of the threshold kernel, both walks); all: of the whole kernel, its beginning
  and end of a row, its searches and its loop included.
- the share of the slots of a step that hold work for the matrix unit, vector
  arithmetic, the transcendental unit, and how many bundles store a spilled register.

A bundle issues in one cycle. Cycles that wait for memory or for a unit to finish are
not in the schedule: it ranks kernels, it does not time them.
"""

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOPOLOGIES = {
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
    "tpu7x": "tpu7x:2x2x1",
}
TILE = 512
T, HEADS, WIDTH = 4096, 4, 128
BASELINES = ("splash", "flash")
ROWS = (*BASELINES, "softmax", "relu", "sigmoid", "sigsoftmax", "softpick", "multimax")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The final schedule of one kernel."""

    kernel: str
    step: int
    all: int
    used: dict[str, float]
    spills: int


def schedules(folder: Path) -> Iterator[Schedule]:
    """What the compiler has left in `folder`, of kernels that multiply matrices."""
    for bundles in sorted(folder.glob("*[0-9]-final_bundles.txt")):
        name = re.sub(r"^\d+-(.*)-\d+-final_bundles.txt$", r"\1", bundles.name)
        stamp = bundles.name.split("-", 1)[0]
        (use,) = folder.glob(
            f"{stamp}-{name}-*-final_hlo-static-per-bundle-utilization.txt"
        )
        found = _schedule(name, bundles.read_text(), use.read_text())
        if found is not None and not name.startswith("fusion"):
            yield found


BUNDLE = re.compile(r"^ *(?:0x)?[0-9a-f]+ +(?P<mark>[A-Z]{2})?:")


def _schedule(name: str, bundles: str, use: str) -> Schedule | None:
    """Cuts a schedule where control flows, and keeps what works on one tile."""
    head, table = use.split("== UTILIZATION:\n")
    units = [unit.strip() for unit in head.splitlines()[1].split(",")]
    slots = dict(zip(units, map(int, head.splitlines()[2].split()), strict=True))
    rows = [list(map(int, line.split())) for line in table.splitlines()]
    lines = [line for line in bundles.splitlines() if BUNDLE.match(line)]
    if len(lines) != len(rows):
        raise ValueError(f"{name}: {len(lines)} bundles, {len(rows)} rows of use")
    pieces: list[list[list[int]]] = [[]]
    for line, row in zip(lines, rows, strict=True):
        mark = BUNDLE.match(line)
        if mark is not None and mark["mark"]:
            pieces.append([])
        pieces[-1].append(row)
        if "sbr.rel" in line:
            pieces.append([])
    matrix = units.index("MATMUL")
    working = [piece for piece in pieces if sum(row[matrix] for row in piece)]
    if not working:
        return None
    # Walks follow one another; a masked and an unmasked step are alternatives.
    step = sum(working, []) if "threshold" in name else max(working, key=len)
    total = dict(zip(units, map(sum, zip(*step, strict=True)), strict=True))
    used = {
        unit: total[unit] / (len(step) * slots[unit])
        for unit in ("MATMUL", "VALU", "EUP")
    }
    return Schedule(name, len(step), len(rows), used, total["VSTORE:SPILL"])


def measure(target: str, row: str, what: str, block: tuple[int, int]) -> list[Schedule]:
    """Compiles one program in a process of its own, whose flags leave the schedules."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        environment = os.environ | {"LIBTPU_INIT_ARGS": flags, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-m", "benchmarks.tpu_static", "--compile"]
        command += [target, row, what, *map(str, block)]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600
        )
        if result.returncode:
            raise RuntimeError(result.stderr.strip().splitlines()[-1])
        return list(schedules(Path(folder)))


def compile_one(target: str, row: str, what: str, block: tuple[int, int]) -> None:
    """Compiles the forward or backward pass of a row for one chip of the target."""
    import jax
    import jax.numpy as jnp

    from softmax_jax.training.topology import devices

    chip = jax.sharding.SingleDeviceSharding(devices(TOPOLOGIES[target])[0])
    x = jax.ShapeDtypeStruct((1, HEADS, T, WIDTH), jnp.bfloat16, sharding=chip)
    attend = PROGRAMS.get(row, _ours(row, block))

    def both(q, k, v, do):
        return jax.vjp(attend, q, k, v)[1](do)

    program, count = (attend, 3) if what == "forward" else (both, 4)
    jax.jit(program).lower(*[x] * count).compile()


def _splash(q: Any, k: Any, v: Any) -> Any:
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernel,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_mask as masks,
    )

    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute")
    sizes = {f"block_{name}": TILE for name in (*names, "q_dq", "kv_dq")}
    attend = kernel.make_splash_mha(
        masks.MultiHeadMask([masks.FullMask((T, T))] * HEADS),
        block_sizes=kernel.BlockSizes(**sizes),
        head_shards=1,
        q_seq_shards=1,
    )
    return attend(q[0], k[0], v[0])[None]


def _flash(q: Any, k: Any, v: Any) -> Any:
    from jax.experimental.pallas.ops.tpu import flash_attention as module

    names = ("block_q", "block_k_major", "block_k", "block_q_major_dkv")
    names += ("block_k_major_dkv", "block_k_dkv", "block_q_dkv", "block_k_major_dq")
    names += ("block_k_dq", "block_q_dq")
    sizes = module.BlockSizes(block_b=1, **{name: TILE for name in names})
    return module.flash_attention(q, k, v, block_sizes=sizes)


PROGRAMS: dict[str, Callable] = {"splash": _splash, "flash": _flash}


def _ours(spec: str, block: tuple[int, int]) -> Callable:
    """Rows of the catalogue, with "causal", "cap" or "learned" after a plus."""
    spec, *options = spec.split("+")

    def attend(q, k, v):
        from softmax_jax.attention.arrange import arrange
        from softmax_jax.attention.kernels.mosaic_tpu.attend import mosaic_tpu
        from softmax_jax.catalogue import parse

        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        none = dict.fromkeys(
            ("query_seq_lengths", "key_value_seq_lengths", "local_window_size")
        )
        operands, offset = arrange(
            q,
            k,
            v,
            None,
            None,
            parse(spec),
            None,
            is_causal="causal" in options,
            segment_ids=None,
            query_offset=None,
            **none,
        )
        cap = 50.0 if "cap" in options else None
        o = mosaic_tpu(operands, WIDTH**-0.5, cap, offset=offset, blocks=block)
        return o.reshape(1, HEADS, T, WIDTH)

    return attend


# Kernels of the forward pass, which the program of the backward pass holds too.
AGAIN = "fwd|forward|threshold|jvp_jit_flash"


def print_table(target: str, rows: list[str], block: tuple[int, int]) -> None:
    print(f"{target}, T = {T}, width {WIDTH}, bfloat16, blocks {block}")
    print("| row | kernel | step | all | matrix | vector | transcendental | spills |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    share = TILE * TILE / (block[0] * block[1])
    for row in rows:
        per = 1.0 if row in BASELINES else share
        for what in ("forward", "backward"):
            for found in measure(target, row, what, block):
                if what == "backward" and re.search(AGAIN, found.kernel):
                    continue
                used = " | ".join(f"{value:.0%}" for value in found.used.values())
                print(
                    f"| {row} | {_short(found.kernel)} | {found.step * per:.0f} | "
                    f"{found.all * per:.0f} | {used} | {found.spills} |",
                    flush=True,
                )


def _short(kernel: str) -> str:
    names = ("forward", "backward", "threshold", "slopes", "dkv", "dq", "fwd", "flash")
    known = {"fwd": "forward", "flash": "forward"}
    found = next((name for name in names if name in kernel), kernel)
    return known.get(found, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TOPOLOGIES, default="v5e")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    parser.add_argument("--block", nargs=2, type=int, default=[TILE, TILE])
    parser.add_argument("--compile", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile:
        target, row, what, *block = arguments.compile
        compile_one(target, row, what, (int(block[0]), int(block[1])))
        return
    print_table(arguments.target, arguments.rows, tuple(arguments.block))


if __name__ == "__main__":
    main()
