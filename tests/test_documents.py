"""What the documents show is what the project does."""

import doctest
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "experiments").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def commands(tool: str) -> list[str]:
    """Returns every call of the tool in a code block or between backticks."""
    call = re.compile(rf"^(?:\$ )?({tool} [^#\n]*)|`({tool} [^`]*)`", re.MULTILINE)
    texts = "\n".join(path.read_text() for path in DOCUMENTS)
    return sorted({(a or b).strip() for a, b in call.findall(texts)})


def code_blocks(path: Path) -> list[str]:
    """Returns the Python blocks of a document, top to bottom."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)


def test_readme_tables_are_fresh() -> None:
    regenerate = runpy.run_path(str(ROOT / "docs/tables.py"))["regenerate"]
    assert README.read_text() == regenerate(README.read_text()), "run `make readme`"


def test_readme_code_runs() -> None:
    """Runs the blocks in order and in one namespace; >>> blocks as doctests."""
    namespace: dict = {"__name__": "README"}
    log: list[str] = []
    with np.printoptions():
        for block in code_blocks(README):
            if ">>>" in block:
                parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
                test = parser.get_doctest(block, namespace, "README.md", None, None)
                runner.run(test, out=log.append, clear_globs=False)
                namespace = test.globs
            else:
                exec(compile(block, "README.md", "exec"), namespace)
    assert not log, "".join(log)


@pytest.mark.parametrize("command", commands("softmax-jax"))
def test_softmax_jax_commands_parse(command: str) -> None:
    from softmax_jax.cli import build_parser

    build_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("command", commands("make"))
def test_make_commands_exist(command: str) -> None:
    subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def test_relative_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
