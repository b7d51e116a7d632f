"""Small files and small functions: what does not fit is two ideas."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("softmax_jax", "configs", "experiments", "tests", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
FILE_MEDIAN, FILE_CAP = 120, 400
FUNCTION_CAP, KERNEL_CAP = 80, 120


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns the length of a function without its docstring."""
    assert function.end_lineno is not None
    length = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        length -= first.end_lineno - first.lineno + 1
    return length


def test_the_median_file_is_short() -> None:
    package = [p for p in FILES if p.is_relative_to(ROOT / "softmax_jax")]
    assert statistics.median(map(lines, package)) <= FILE_MEDIAN


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert lines(path) <= FILE_CAP
    cap = KERNEL_CAP if path.parent.name.startswith("mosaic_") else FUNCTION_CAP
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert body_lines(node) <= cap, f"{node.name} is too long"
