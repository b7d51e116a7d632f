"""What the compiler makes of attention kernels for TPUs that are not here.

    python -m benchmarks.tpu_static --target v5e --rows softmax relu
    python -m benchmarks.tpu_static --target v5e --tune

compiles each program for the target, in a process of its own, and prints what the
final schedules of its kernels hold, per 512 queries and 512 keys:

- step: VLIW bundles of the code that works on one tile, which is what runs again and
  again (of the threshold kernel, both walks); all: of the whole kernel, its beginning
  and end of a row, its searches and its loop included.
- row: a step, and its part of what is done once for a row of tiles, searches included.
  "dense" adds what a pass over all scores costs, of which one mostly follows the search
  where more than one score of a part of the row is in the support.
- cycles: the step, and the cycles in which nothing is issued, for a unit is busy: the
  schedule has them, the program only their number.
- the share of the slots of these cycles that hold work for the matrix unit, vector
  arithmetic, the transcendental unit, and how many bundles store a spilled register.
- same: the step over that of splash, which is a softmax, with tiles of the same size;
  best: over that of splash with the size that suits it best of those tried; the other
  best: the same of cycles. Of the threshold kernel it is not the step that is compared,
  but what stands under row.

A bundle issues in one cycle. Cycles that wait for memory are in no schedule: it ranks
kernels, it does not time them.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from softmax_jax.attention.kernels.mosaic_tpu.schedule import Counts
from softmax_jax.attention.kernels.mosaic_tpu.threshold import GROUP
from softmax_jax.errors import UserError
from softmax_jax.evidence.laboratory.tpu_compiler import (
    TOPOLOGIES,
    Program,
    T,
    is_forward,
    measure,
)

ROWS = ("softmax", "relu", "sigmoid", "softmax1+cap", "sigsoftmax", "softpick")
ROWS += ("multimax", "entmax15")
# Queries and keys per tile, and for splash the keys that it computes with at a time.
SPLASH = ((512, 512), (512, 1024), (1024, 1024), (1024, 2048, 512), (2048, 1024, 512))
TRIED = ((512, 512), (512, 1024), (1024, 1024), (1024, 2048))
HEAD = (
    "| row | kernel | tile | step | same | best | cycles | best | row | all | matrix "
)
HEAD += "| vector | transcendental | spills |\n|---|---|---|" + "---:|" * 11


class Step(NamedTuple):
    """Of splash, per 512 x 512."""

    bundles: float
    cycles: float


# By pass and size.
Baseline = dict[str, dict[tuple[int, ...], Step]]


def lines(program: Program, baseline: Baseline) -> Iterator[str]:
    """A line of the table for each kernel, two where a search may take a pass more."""
    kernels = measure(program)
    if not any(is_forward(found.kernel) for found in kernels):
        # Gradients of elementwise weights need no output.
        kernels = measure(dataclasses.replace(program, what="forward")) + kernels
    for found in kernels:
        sizes, share = program.sizes(found.kernel), program.share(found.kernel)
        step = found.step * share
        known = baseline.get(
            "backward" if "backward" in found.kernel else "forward", {}
        )
        bundles = [x.bundles for x in known.values()]
        alike = [x.bundles for size, x in known.items() if size[:2] == sizes[:2]]
        waiting, idle = [x.cycles for x in known.values()], found.cycles
        used = " | ".join(f"{value:.0%}" for value in found.used.values())
        in_bundles, in_cycles = (
            _rows(found.kernel, counts, sizes) for counts in (found, idle)
        )
        for (name, row), (_, slow) in zip(in_bundles, in_cycles, strict=True):
            cost, slow = (row, slow) if name else (found.step, idle.step)
            same, best, slowest = (
                f"{x * share / min(theirs):.2f}" if theirs else ""
                for x, theirs in ((cost, alike), (cost, bundles), (slow, waiting))
            )
            yield (
                f"| {program.row} | {_short(found.kernel)}{name} | "
                f"{' x '.join(map(str, sizes))} | {step:.0f} | {same} | {best} | "
                f"{idle.step * share:.0f} | {slowest} | {row * share:.0f} | "
                f"{found.all * share:.0f} | {used} | {found.spills} |"
            )


def _rows(
    kernel: str, found: Counts, sizes: tuple[int, ...]
) -> list[tuple[str, float]]:
    """Of a tile, its part of what is done once for a row of tiles included."""
    columns = T / sizes[1]
    row = found.step + found.once / columns
    if "threshold" not in kernel:
        return [("", row)]
    steps, groups, inner = found.loops
    a_pass = steps + sizes[0] / GROUP * (groups + columns * inner)
    return [(", sparse", row), (", dense", row + a_pass / columns)]


def _short(kernel: str) -> str:
    names = ("forward", "backward", "threshold", "slopes", "dkv", "dq", "fwd", "flash")
    known = {"fwd": "forward", "flash": "forward"}
    found = next((name for name in names if name in kernel), kernel)
    return known.get(found, found)


def measure_splash(target: str) -> Baseline:
    """Prints what splash costs, and returns it; dq and dkv, or both in one kernel."""
    steps: Baseline = {"forward": {}, "backward": {}}
    for size in SPLASH:
        for row in ("splash", "fused splash"):
            program = Program(row, "both", target, tile=size)
            try:
                found = list(measure(program))
            except UserError as error:
                print(f"{error}", flush=True)
                continue
            for what, kernels in (
                ("forward", [x for x in found if is_forward(x.kernel)]),
                ("backward", [x for x in found if not is_forward(x.kernel)]),
            ):
                share = program.share("")
                step = sum(x.step for x in kernels) * share
                cycles = sum(x.cycles.step for x in kernels) * share
                whole = sum(x.all for x in kernels) * share
                steps[what][(*size, row)] = Step(step, cycles)
                cells = [" x ".join(map(str, size)), f"{step:.0f}", "", ""]
                cells += [f"{cycles:.0f}", "", "", f"{whole:.0f}"]
                line = " | ".join((row, what, *cells))
                print(f"| {line} | | | | |", flush=True)
    return steps


def print_table(target: str, rows: list[str], what: str) -> None:
    print(f"{target}, T = {T}, width 128, bfloat16, no mask\n{HEAD}")
    baseline = measure_splash(target) if what == "both" else {}
    for row in ("flash", *rows):
        program = Program(row, what, target)
        for line in lines(program, baseline):
            print(line, flush=True)


def tune(target: str, widths: list[int]) -> None:
    """Prints softmax, forward and backward, with tiles of several sizes."""
    print(f"{target}, softmax, T = {T}, bfloat16: bundles per 512 x 512")
    print("| width | tile | forward | backward |\n|---:|---|---:|---:|")
    for width in widths:
        for tile in TRIED:
            program = Program("softmax", "both", target, width, tile)
            try:
                found = {is_forward(x.kernel): x for x in measure(program)}
            except UserError as error:
                print(f"| {width} | {tile} | {error} | |", flush=True)
                continue
            both = found[True], found[False]
            cells = (f"{x.step * program.share(''):.0f}" for x in both)
            print(f"| {width} | {tile} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TOPOLOGIES, default="v5e")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    parser.add_argument(
        "--forward", action="store_true", help="as without gradients, and no splash"
    )
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 128, 256])
    arguments = parser.parse_args()
    if arguments.tune:
        tune(arguments.target, arguments.widths)
        return
    what = "forward" if arguments.forward else "both"
    print_table(arguments.target, arguments.rows, what)


if __name__ == "__main__":
    main()
