"""The wheel holds the library alone and imports away from the checkout."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str, **options) -> str:
    result = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel once."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), cwd=ROOT)
    (path,) = folder.glob("softmax_jax-*.whl")
    return path


def test_the_wheel_holds_only_the_library(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"softmax_jax"}
    assert "softmax_jax/py.typed" in names


def test_the_wheel_imports_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    install = "-m pip install --quiet --no-deps --no-index --target".split()
    run(*install, str(tmp_path), str(wheel))
    code = "import softmax_jax, softmax_jax.cli; print(softmax_jax.__file__)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    where = run("-c", code, cwd=tmp_path.parent, env=environment).strip()
    assert Path(where).is_relative_to(tmp_path)


def test_dependencies_are_what_is_imported() -> None:
    """Every distribution the library imports is asked for, and no other."""
    trees = [ast.parse(path.read_text()) for path in ROOT.glob("softmax_jax/**/*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {
        a.name for node in nodes if isinstance(node, ast.Import) for a in node.names
    }
    modules |= {f"{node.module}" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {module.split(".")[0] for module in modules} - sys.stdlib_module_names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]}
    optional = {"sklearn"}  # imported where a task asks for it
    ours = tops - {"softmax_jax"} - optional
    assert {normal(top) for top in ours} == {normal(name) for name in asked}


def normal(name: str) -> str:
    """Returns the name of a module or distribution in one spelling."""
    distribution = {"orbax": "orbax-checkpoint"}.get(name, name)
    return distribution.lower().replace("_", "-")
