"""`softmax-jax compile FILE.py:Class --target v6e`."""

import re
from importlib.util import find_spec

import pytest

from softmax_jax import cli
from softmax_jax.attention.kernels.mosaic_tpu.schedule import schedules
from softmax_jax.evidence.laboratory import tpu_compiler

OWN = """
import jax.numpy as jnp
import softmax_jax as sj

class LogQuadratic(sj.Ratio):
    curvature: float = sj.parameter(1.0)

    def log_weight(self, z):
        return jnp.log1p(self.curvature * z * z)

class Moody(LogQuadratic):
    mood: str

class Sorted(sj.Ratio):
    def log_weight(self, z):
        return jnp.sort(z)

class Stranger:
    pass
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


def said(capsys, *words: str) -> str:
    """The one sentence of a refusal."""
    assert cli.main(["compile", *words]) == 2
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    return written


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("LogQuadradic", "has no class 'LogQuadradic'; nearest: LogQuadratic"),
        ("Stranger", "Stranger in .* is no normalizer"),
        ("Moody", "Moody in .* cannot be made: .* argument: 'mood'"),
    ],
)
def test_a_class_that_is_none(own, name, sentence, capsys, monkeypatch):
    monkeypatch.setattr(tpu_compiler, "check_target", lambda target: None)
    written = said(capsys, f"{own}:{name}", "--target", "v6e")
    assert re.search(sentence, written)


def test_what_is_not_there(own, capsys, monkeypatch):
    monkeypatch.setattr(tpu_compiler.importlib.util, "find_spec", lambda name: None)
    written = said(capsys, f"{own}:LogQuadratic", "--target", "v6")
    assert "'v6' is no generation of TPUs; nearest: v6e" in written
    written = said(capsys, f"{own}:LogQuadratic", "--target", "v6e")
    assert "pip install softmax-jax[tpu]" in written
    monkeypatch.setattr(tpu_compiler, "check_target", lambda target: None)
    assert "there is no file" in said(capsys, "none.py:X", "--target", "v6e")


USE = """Bundles
MATMUL, VALU, EUP, VSTORE:SPILL
2 4 1 1
== UTILIZATION:
0 1 0 0
2 4 1 1
0 2 0 0
0 0 0 0
"""
BUNDLES = """
   0x1 LB: > { begin }
   0x2 PF: > { step }
   0x3   : > { step ;; sbr.rel }
   0x4   : > { end }
"""
# As many bundles, and two cycles in which nothing is issued.
WITH_IDLE = BUNDLES.replace("{ step }", "{ step }\n   0x3   : > {}\n   0x4   : > {}")
IDLE_USE = USE.replace("2 4 1 1\n0 2", "2 4 1 1\n1 0 0 0\n1 0 0 0\n0 2")


def test_a_schedule_is_cut_where_control_flows(tmp_path):
    for number, stage, bundles, use in (
        (72, "final", BUNDLES, USE),
        (68, "pre-delay", WITH_IDLE, IDLE_USE),
    ):
        listing = "final_bundles" if stage == "final" else "packed-bundles-post-ra"
        (tmp_path / f"7-own.1-{number}-{listing}.txt").write_text(bundles)
        table = f"7-own.1-{number - 2}-{stage}_hlo-static-per-bundle-utilization.txt"
        (tmp_path / table).write_text(use)
    (found,) = schedules(tmp_path)
    assert (found.kernel, found.step, found.all, found.spills) == ("own.1", 2, 4, 1)
    assert (found.cycles.step, found.cycles.all) == (4, 6)
    assert found.used == {"MATMUL": 0.5, "VALU": 0.375, "EUP": 0.25}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
def test_bundles_of_a_users_own(own, capsys):
    assert cli.main(["compile", f"{own}:LogQuadratic", "--target", "v5e"]) == 0
    *_, forward, backward = capsys.readouterr().out.splitlines()
    for line, name in ((forward, "forward"), (backward, "backward")):
        found, mine, splash, ratio = line.split()
        assert found == name
        assert float(ratio) == pytest.approx(float(mine) / float(splash), abs=0.01)
    written = said(capsys, f"{own}:Sorted", "--target", "v5e")
    assert "does not compile for v5e" in written and "sort" in written
