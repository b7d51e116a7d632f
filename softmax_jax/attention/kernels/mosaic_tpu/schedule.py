"""The schedules of kernels for TPUs, as their compiler writes them to a folder.

The compiler lays out what happens in every cycle: a bundle of operations, or nothing,
where one waits for a unit. The final program has the bundles, and of cycles without one
only how many there are. Both are counted here. Cycles that wait for memory are in
neither: a schedule ranks kernels, it does not time them.
"""

import dataclasses
import re
import statistics
from collections.abc import Collection, Iterator
from pathlib import Path

# Flags of the compiler, which it reads when it is loaded.
FLAGS = "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
# How files end that hold a schedule and the use of units: with all cycles, and without
# those in which nothing is issued.
CYCLES = "packed-bundles-post-ra", "pre-delay"
BUNDLES = "final_bundles", "final"
# The matrix unit: an older compiler counts what it is given and products together.
MATRIX = "MATMUL", "MXU"
LINE = re.compile(r"^ *(?:0x)?[0-9a-f]+ +(?P<mark>[A-Z]{2})?:(?P<depth>[ >]*)")
# Pieces at least as long work on rows; shorter ones keep the loop over tiles going.
LONG = 60


@dataclasses.dataclass(frozen=True)
class Counts:
    """Bundles, or cycles, of one kernel.

    Attributes:
      step: of the code that works on one tile, which runs again and again: of the
        threshold kernel both walks, of alternatives the longest.
      once: of what is done once for a row of tiles, loops left out.
      loops: inside that, by how deep they are.
      all: of the whole kernel.
    """

    step: int
    once: int
    loops: tuple[int, ...]
    all: int


@dataclasses.dataclass(frozen=True)
class Schedule(Counts):
    """Bundles of one kernel, and what else is known of it.

    Attributes:
      cycles: the same counts, with the cycles in which nothing is issued.
      used: the share of the slots of the cycles of a step that hold work, by unit.
      spills: stores of registers in a step.
    """

    kernel: str
    cycles: Counts
    used: dict[str, float]
    spills: int


@dataclasses.dataclass
class _Piece:
    """Bundles between two points where control may flow: in how many loops each of them
    stands, and what it uses."""

    depths: list[int]
    use: list[list[int]]

    @property
    def depth(self) -> int:
        """Of most: what fills the time of a branch stands elsewhere."""
        return statistics.mode(self.depths)


def schedules(folder: Path) -> Iterator[Schedule]:
    """Those of kernels that multiply matrices."""
    for final in sorted(folder.glob("*[0-9]-final_bundles.txt")):
        stamp, _, rest = final.name.partition("-")
        name = re.sub(r"-\d+-final_bundles.txt$", "", rest)
        if name.startswith("fusion"):
            continue
        bundles = _counted(folder, stamp, name, *BUNDLES)
        cycles = _counted(folder, stamp, name, *CYCLES)
        if bundles is not None and cycles is not None:
            counts, step = cycles
            used = {
                unit: step[unit][0] / (counts.step * step[unit][1])
                for unit in (_matrix(step), "VALU", "EUP")
            }
            spills = step["VSTORE:SPILL"][0]
            of_bundles = dataclasses.asdict(bundles[0])
            yield Schedule(
                **of_bundles, kernel=name, cycles=counts, used=used, spills=spills
            )


def _counted(
    folder: Path, stamp: str, name: str, listing: str, stage: str
) -> tuple[Counts, dict[str, tuple[int, int]]] | None:
    """Counts of one stage, and of every unit its work in a step and its slots."""
    (written,) = folder.glob(f"{stamp}-{name}-[0-9]*[0-9]-{listing}.txt")
    (use,) = folder.glob(
        f"{stamp}-{name}-[0-9]*-{stage}_hlo-static-per-bundle-utilization.txt"
    )
    head, table = use.read_text().split("== UTILIZATION:\n")
    units = [unit.strip() for unit in head.splitlines()[1].split(",")]
    slots = map(int, head.splitlines()[2].split())
    rows = [list(map(int, line.split())) for line in table.splitlines()]
    pieces = _pieces(name, written.read_text(), rows)
    matrix = units.index(_matrix(units))
    working = [piece for piece in pieces if sum(row[matrix] for row in piece.use)]
    if not working:
        return None
    # Walks follow one another; a masked and an unmasked step are alternatives.
    if "threshold" in name:
        step = [row for piece in working for row in piece.use]
    else:
        step = max((piece.use for piece in working), key=len)
    rest = [piece for piece in pieces if not any(piece is x for x in working)]
    once = sum(len(x.use) for x in rest if x.depth < 2 and len(x.use) >= LONG)
    deepest = max((x.depth for x in rest), default=0)
    loops = tuple(
        sum(len(x.use) for x in rest if x.depth == depth)
        for depth in range(2, deepest + 1)
    )
    work = zip(map(sum, zip(*step, strict=True)), slots, strict=True)
    counts = Counts(len(step), once, loops, len(rows))
    return counts, dict(zip(units, work, strict=True))


def _matrix(units: Collection[str]) -> str:
    return next(unit for unit in MATRIX if unit in units)


def _pieces(name: str, bundles: str, rows: list[list[int]]) -> list[_Piece]:
    """A schedule, cut where control flows."""
    found = [(m, line) for line in bundles.splitlines() if (m := LINE.match(line))]
    if len(found) != len(rows):
        raise ValueError(f"{name}: {len(found)} bundles, {len(rows)} rows of use")
    pieces, fresh = [], True
    for (match, line), row in zip(found, rows, strict=True):
        if fresh or match["mark"]:
            pieces.append(_Piece([], []))
        pieces[-1].depths.append(match["depth"].count(">"))
        pieces[-1].use.append(row)
        fresh = "sbr.rel" in line
    return pieces
