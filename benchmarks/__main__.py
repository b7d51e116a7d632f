"""Prints every benchmark: python -m benchmarks [attention | rows]."""

import sys

import jax
from rich.console import Console

from benchmarks import attention, rows

PARTS = {"attention": attention, "rows": rows}


def main(names: list[str]) -> None:
    """Prints the tables of the parts named, or of all."""
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {[*PARTS]}")
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"JAX {jax.__version__} on {jax.devices()[0].device_kind}. Contestants take "
        "turns; times are the best of all rounds, 'times faster' compares those, and "
        "'per round' is its range within single rounds."
    )
    for name in names or PARTS:
        for table in PARTS[name].tables():
            console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
