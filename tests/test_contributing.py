"""CONTRIBUTING.md's worked example, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "CONTRIBUTING.md"
COPIED = ("softmax_jax", "tests", "docs", "README.md", "pyproject.toml")
# A path between backticks, the end of its sentence, and the block that belongs there.
BLOCK = re.compile(r"`([\w/]+\.py)`:\n\n```(python|diff)\n(.*?)^```", re.M | re.S)
NAME = "taylor_softmax"


def insert(text: str, diff: str) -> str:
    """The text with the added lines of each hunk after the line that stands above."""
    for hunk in re.split(r"^@@\n", diff, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        above = "".join(line[1:] for line in lines if line[0] == " ")
        added = "".join(line[1:] for line in lines if line[0] == "+")
        assert [line[0] for line in lines] == sorted(line[0] for line in lines)
        assert f"\n{text}".count(f"\n{above}") == 1, above
        text = f"\n{text}".replace(f"\n{above}", f"\n{above}{added}")[1:]
    return text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the document was followed."""
    copy = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "figures", "goldens")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    for path, kind, block in BLOCK.findall(DOCUMENT.read_text()):
        file = copy / path
        assert file.exists() == (kind == "diff"), path
        file.write_text(insert(file.read_text(), block) if kind == "diff" else block)
    return copy


def run(project: Path, *words: str) -> str:
    """What Python prints in the copy, where it can import nothing of the original."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    result = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


USE = f"""
import jax, jax.numpy as jnp, softmax_jax as sj

assert sj.parse("{NAME}") == sj.TaylorSoftmax()
q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 6, 2, 4))
reference, chunked = (
    sj.dot_product_attention(
        q, k, v, normalizer="{NAME}", is_causal=True, implementation=name
    )
    for name in ("reference", "chunked")
)
scores = jnp.einsum("bthd,bshd->bhts", q, k) / 2
p = sj.taylor_softmax(scores, where=jnp.tri(6, dtype=bool))
assert jnp.allclose(jnp.exp(sj.log_taylor_softmax(scores)).sum(-1), 1, atol=1e-5)
expected = jnp.einsum("bhts,bshd->bthd", p, v)
assert jnp.allclose(reference, expected, atol=1e-5)
assert jnp.allclose(chunked, reference, atol=1e-5)
print(sj.__file__)
"""


def test_function_and_attention_work(project: Path) -> None:
    assert Path(run(project, "-c", USE).strip()).is_relative_to(project)


@pytest.mark.slow
def test_its_tests_pass(project: Path) -> None:
    """Its own, its doctest, those of its names, and laws that took it up."""
    names = (
        "function_class_name_and_spec_are_one",
        "function_and_class_share_their_defaults",
    )
    tests = [
        f"softmax_jax/normalizers/{NAME}.py",
        f"tests/normalizers/test_{NAME}.py",
        *(f"tests/test_catalogue.py::test_{name}[{NAME}]" for name in names),
        *(
            f"tests/properties/test_laws.py::test_law_holds[{NAME}-{law}]"
            for law in ("simplex", "nan_shows", "extremes")
        ),
    ]
    assert "8 passed" in run(project, "-m", "pytest", "-q", *tests)


def test_it_is_in_house_style(project: Path) -> None:
    touched = {path for path, _, _ in BLOCK.findall(DOCUMENT.read_text())}
    assert len(touched) == 5
    run(project, "-m", "ruff", "check", *touched)
    run(project, "-m", "ruff", "format", "--check", *touched)


@pytest.mark.slow
def test_every_law_holds_and_the_readme_takes_it_up(project: Path) -> None:
    main = "import sys; from softmax_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    assert "1 of 1 claimed tags" in run(project, "-c", main, "check", NAME)
    assert (project / "runs/check/TaylorSoftmax.svg").exists()
    run(project, "docs/tables.py")
    assert f"| `{NAME}` | `(1 + z + z²/2)" in (project / "README.md").read_text()
