"""`softmax-jax check` tells a correct normalizer from a broken one."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import softmax_jax as sj
from softmax_jax import cli
from softmax_jax.evidence.laboratory import check, examination, response
from softmax_jax.evidence.laboratory.normalizer_file import find_normalizer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/log_quadratic.py"
LAWS = check.TAGS | {law.name: law for law in check.PROMISED}


class Overflows(sj.Ratio):
    """1 + e^z, forgetting that e^z overflows where its logarithm does not."""

    def log_weight(self, z):
        return jnp.log(1 + jnp.exp(z))


class HidesNaN(sj.Ratio):
    """A comparison with NaN is false, and the NaN is gone."""

    def log_weight(self, z):
        return jnp.where(z > 0, z, 0.1 * jnp.where(z <= 0, z, 0))


class CountsThePadding(sj.Ratio):
    """The length of the array in place of the number of visible keys."""

    def log_weight(self, z):
        return z * math.log(z.shape[-1])


class Overclaims(sj.Ratio):
    """An even function is not monotone."""

    tags = frozenset({"simplex", "order_preserving"})

    def log_weight(self, z):
        return jnp.log1p(z * z)


@jax.custom_jvp
def _slow_softplus(z):
    return jax.nn.softplus(z)


@_slow_softplus.defjvp
def _(primals, tangents):
    (z,), (dz,) = primals, tangents
    return _slow_softplus(z), 0.9 * jax.nn.sigmoid(z) * dz


class WrongSlope(sj.Ratio):
    """Its derivative by hand is a tenth too small."""

    def log_weight(self, z):
        return _slow_softplus(z)


class Raises(sj.Ratio):
    """A Python condition on a traced array."""

    def log_weight(self, z):
        return z if z.max() > 0 else -z


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Overflows(), "extremes"),
        (HidesNaN(), "nan_shows"),
        (CountsThePadding(), "same_in_chunks"),
        (Overclaims(), "order_preserving"),
        (WrongSlope(), "derivative"),
        (Raises(), "permutation"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_a_broken_normalizer_fails_where_it_is_broken(
    broken: sj.Normalizer, law: str
) -> None:
    finding = check.judge(broken, LAWS[law], "promise")
    assert finding.fails and finding.verdict == "FAILS"
    assert finding.broken and "\n" not in finding.broken


@pytest.fixture
def few_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tags and two promises, which is what the command needs to show everything."""
    tags = {name: check.TAGS[name] for name in ("simplex", "order_preserving")}
    monkeypatch.setattr(check, "TAGS", tags)
    monkeypatch.setattr(check, "PROMISED", (LAWS["permutation"], LAWS["nan_shows"]))


@pytest.fixture
def run(tmp_path: Path, few_laws: None) -> Callable[[str], int]:
    return lambda target: cli.main(["check", target, "--folder", str(tmp_path)])


def test_a_correct_normalizer_passes(
    run: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"{EXAMPLE}:LogQuadratic(width=2.0)") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("LogQuadratic(width=2.0)\n")
    assert "holds  tag          simplex" in shown
    assert "no     not claimed  order_preserving" in shown
    assert "LogQuadratic(width=2.0): a larger score weighs" in shown
    assert "1 of 1 claimed tags and 2 of 2 promises hold." in shown
    picture = tmp_path / "check/LogQuadratic.svg"
    assert f"Response curve: {picture}" in shown
    assert picture.stat().st_size > 5000


def test_a_false_tag_fails(
    run: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(response, "draw", lambda normalizer, folder: folder)
    assert run(f"{__file__}:Overclaims") == 1
    shown = capsys.readouterr().out
    assert "FAILS  tag          order_preserving" in shown
    assert "1 of 2 claimed tags and 2 of 2 promises hold." in shown


def test_what_raises_fails_in_one_line_each(
    run: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"{__file__}:Raises") == 1
    shown = capsys.readouterr().out
    assert "TracerBoolConversionError: Attempted boolean conversion" in shown
    assert "0 of 2 promises hold." in shown and "No response curve: Tracer" in shown
    assert not (tmp_path / "check/Raises.svg").exists()


def test_a_row_of_the_catalogue_can_be_named() -> None:
    assert find_normalizer("entmax(alpha=1.25)") == sj.Entmax(alpha=1.25)


@pytest.mark.usefixtures("few_laws")
def test_the_table_on_a_terminal() -> None:
    console = Console(force_terminal=True, width=120, record=True, quiet=False)
    findings = examination.tabulate(console, check.examine(Overclaims()))
    table = console.export_text()
    assert [f.verdict for f in findings] == ["holds", "FAILS", "holds", "holds"]
    assert "order_preserving" in table and "FAILS: Overclaims()" in table


def test_the_curve_is_that_of_the_weights() -> None:
    z, weights, slopes = response.curve(sj.Softmax(), 8)
    others = np.exp(np.linspace(-response.OTHERS, response.OTHERS, 7)).sum()
    expected = np.exp(z) / (np.exp(z) + others)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    np.testing.assert_allclose(slopes, expected * (1 - expected), rtol=1e-12)


FILES = {
    "syntax.py": "import jax\ndef f(:\n",
    "imports.py": "import no_such_module\n",
    "plain.py": (
        "import softmax_jax as sj\n"
        "class Unfinished(sj.Ratio): pass\n"
        "class Plain: pass\n"
        "class Fine(sj.Softmax): pass\n"
        "class Tagged(sj.Softmax):\n    tags = frozenset({'simplx'})\n"
    ),
    "empty.py": "",
}


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("none.py:Fine", "there is no file 'none.py'; write FILE.py:Class"),
        ("syntax.py:Fine", "syntax.py, line 2: SyntaxError: invalid syntax"),
        ("imports.py:Fine", "imports.py, line 1: ModuleNotFoundError: No module named"),
        ("plain.py:Fin", "plain.py has no class 'Fin'; nearest: Fine"),
        ("plain.py", "FILE.py:Class(field=2.0); plain.py has Unfinished, Fine, Tagged"),
        ("empty.py:", "empty.py has no normalizer"),
        ("plain.py:Plain", "Plain in plain.py is no normalizer; derive it from sj."),
        ("plain.py:Unfinished", "cannot be made: Can't instantiate abstract class"),
        ("plain.py:Fine(temprature=2)", "no parameter 'temprature'; nearest: temp"),
        ("plain.py:Fine(temperature=-1.0)", "temperature must lie"),
        ("plain.py:Fine(2.0)", "is not a normalizer spec"),
        ("plain.py:Tagged", "claims the tag 'simplx', which there is not; nearest: si"),
        ("softmx", "no normalizer is called 'softmx'; nearest: softmax"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    sentence: str,
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", target]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_file_gives_an_instance_with_the_values_asked_for() -> None:
    found = find_normalizer(f"{EXAMPLE}:LogQuadratic(width=0.5)")
    assert type(found).__name__ == "LogQuadratic"
    assert [float(leaf) for leaf in jax.tree.leaves(found)] == [0.5]


@pytest.mark.slow
def test_the_readme_shows_what_is_printed(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    command, sample = re.findall(
        r"^softmax-jax (check [^\n]*)\n```\n\n```text\n(.*?)^```", readme, re.M | re.S
    )[0]
    main = "import sys; from softmax_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", main, *command.split(), "--folder", str(tmp_path)]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    printed = result.stdout.replace(str(tmp_path), "runs").splitlines()
    for line in sample.splitlines():
        assert line == "..." or line in printed
