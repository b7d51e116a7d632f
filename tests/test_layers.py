"""Imports run one way, and each heavy package stays where it belongs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A piece may import the rows above its own, never its neighbours in the same row.
# "softmax_jax" is the public API: the names of the rows above it, on one screen.
LAYERS = [
    {"errors", "target"},
    {"normalizers"},
    {"query_scales"},
    {"catalogue"},
    {"attention", "losses", "analysis", "laws", "logarithms"},
    {"heads"},
    {"softmax_jax"},
    {"nn"},
    {"optim", "data"},
    {"training"},
    {"evidence"},
    {"cli"},
    {"configs"},
    {"experiments"},
]
RANK = {piece: rank for rank, row in enumerate(LAYERS) for piece in row}
FILES = sorted(
    path
    for folder in ("softmax_jax", "configs", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)


def dotted(path: Path) -> list[str]:
    """Returns the dotted name of a file, as a list."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def piece(module: list[str]) -> str:
    """Returns the piece of the project that a module belongs to."""
    inside = module[0] == "softmax_jax" and len(module) > 1
    return module[1] if inside else module[0]


def imports(path: Path) -> Iterator[list[str]]:
    """Yields the dotted name of everything the file imports, at any depth."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path)[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                is_submodule = (ROOT.joinpath(*base, alias.name)).is_dir() or (
                    ROOT.joinpath(*base, f"{alias.name}.py").is_file()
                )
                yield [*base, alias.name] if is_submodule else base


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    own = piece(dotted(path))
    assert own in RANK, f"{own} has no place in LAYERS"
    for module in imports(path):
        if module[0] in {"softmax_jax", "configs", "experiments"}:
            other = piece(module)
            assert other == own or RANK[other] < RANK[own], f"{own} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_stay_where_they_belong(path: Path) -> None:
    packages = {module[0] for module in imports(path)}
    assert not packages & {"tensorflow", "clu", "chex"}
    if piece(dotted(path)) not in {"cli", "configs", "experiments"}:
        assert "ml_collections" not in packages


def test_the_package_of_normalizers_is_empty() -> None:
    body = ast.parse((ROOT / "softmax_jax/normalizers/__init__.py").read_text()).body
    assert all(isinstance(node, ast.Expr) for node in body)


def test_the_core_imports_only_jax() -> None:
    """Importing the public API costs a mathematician nothing but JAX."""
    code = (
        "import sys, softmax_jax; print(*{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"flax", "optax", "orbax", "grain", "ml_collections", "matplotlib", "rich"}
    loaded = set(result.stdout.split())
    assert "softmax_jax" in loaded
    assert not loaded & heavy
