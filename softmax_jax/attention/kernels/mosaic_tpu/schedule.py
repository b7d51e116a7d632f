"""The final schedules of kernels for TPUs, as their compiler writes them to a folder.

A bundle issues in one cycle. Cycles that wait for memory or for a unit to finish are
not in a schedule: it ranks kernels, it does not time them.
"""

import dataclasses
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

# Flags of the compiler, which it reads when it is loaded.
FLAGS = "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
BUNDLE = re.compile(r"^ *(?:0x)?[0-9a-f]+ +(?P<mark>[A-Z]{2})?:(?P<depth>[ >]*)")
# Pieces at least as long work on rows; shorter ones keep the loop over tiles going.
LONG = 60


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Bundles of one kernel.

    Attributes:
      step: of the code that works on one tile, which runs again and again: of the
        threshold kernel both walks, of alternatives the longest.
      once: of what is done once for a row of tiles, loops left out.
      loops: inside that, by how deep they are.
      all: of the whole kernel.
      used: the share of the slots of a step that hold work, by unit.
      spills: stores of registers in a step.
    """

    kernel: str
    step: int
    once: int
    loops: tuple[int, ...]
    all: int
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
    for bundles in sorted(folder.glob("*[0-9]-final_bundles.txt")):
        name = re.sub(r"^\d+-(.*)-\d+-final_bundles.txt$", r"\1", bundles.name)
        stamp = bundles.name.split("-", 1)[0]
        (use,) = folder.glob(
            f"{stamp}-{name}-*-final_hlo-static-per-bundle-utilization.txt"
        )
        found = _schedule(name, bundles.read_text(), use.read_text())
        if found is not None and not name.startswith("fusion"):
            yield found


def _schedule(name: str, bundles: str, use: str) -> Schedule | None:
    head, table = use.split("== UTILIZATION:\n")
    units = [unit.strip() for unit in head.splitlines()[1].split(",")]
    slots = dict(zip(units, map(int, head.splitlines()[2].split()), strict=True))
    rows = [list(map(int, line.split())) for line in table.splitlines()]
    pieces = _pieces(name, bundles, rows)
    matrix = units.index("MATMUL")
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
    total = dict(zip(units, map(sum, zip(*step, strict=True)), strict=True))
    used = {
        unit: total[unit] / (len(step) * slots[unit])
        for unit in ("MATMUL", "VALU", "EUP")
    }
    spills = total["VSTORE:SPILL"]
    return Schedule(name, len(step), once, loops, len(rows), used, spills)


def _pieces(name: str, bundles: str, rows: list[list[int]]) -> list[_Piece]:
    """A schedule, cut where control flows."""
    found = [(m, line) for line in bundles.splitlines() if (m := BUNDLE.match(line))]
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
