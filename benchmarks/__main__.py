"""Prints every benchmark: python -m benchmarks [part ...]."""

import argparse
import functools
import sys
from pathlib import Path

import jax
from rich.console import Console

from benchmarks import attention, linear_cross_entropy, rows, train_step


def main(arguments: list[str]) -> None:
    """Prints the tables of the parts named, or of all."""
    parts = {
        "attention": attention.tables,
        "rows": rows.tables,
        "linear_cross_entropy": linear_cross_entropy.tables,
        "train_step": train_step.tables,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; default all")
    parser.add_argument(
        "--nanodo", type=Path, help="folder of nanodo's source, for train_step"
    )
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(parts)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {[*parts]}")
    parts["train_step"] = functools.partial(train_step.tables, given.nanodo)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"JAX {jax.__version__} on {jax.devices()[0].device_kind}. Contestants take "
        "turns; times are the best of all rounds, 'times faster' and 'time' compare "
        "those, and 'per round' is the range within single rounds."
    )
    for name in given.parts or parts:
        for table in parts[name]():
            console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
