"""Format, lint and types, as part of the suite."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


CHECKS = [
    "ruff format --check",
    "ruff check",
    f"pyrefly check --python-interpreter-path {sys.executable}",
]


@pytest.mark.parametrize("check", CHECKS, ids=["format", "lint", "types"])
def test_clean(check: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *check.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
