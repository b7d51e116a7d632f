"""The command line in process: a tiny experiment from run to report."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from softmax_jax import cli
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies import lookup_figures, registry

CONFIG = """
from ml_collections import ConfigDict
from softmax_jax.evidence.studies.lookup import LookupConfig
from softmax_jax.training.config import to_mapping

def get_config(size):
    if size != "quick":
        raise ValueError(f"size={size!r} is unknown; use quick")
    base = to_mapping(LookupConfig(
        width=8, vocabulary=64, shortest=2, longest=4, lengths=(4, 8), rows=32,
        steps=2, batch_size=4,
    ))
    base["optimizer"]["warmup"] = 1
    arms = {
        "a": {"parameters_from": "ssmax"},
        "ssmax": {"normalizer": "ssmax(scale=0.7)"},
    }
    return ConfigDict({"lookup": {"base": base, "arms": arms}})
"""
CLAIMS = """
from softmax_jax.evidence.claims import Claim

COMMON = dict(source="arXiv 0000.00000, Eq. 7", why="Because.", study="lookup")
CLAIMS = [
    Claim(name="better", says="SSMax wins.", verified=False, setting="stand_in",
          status="tested", metric="accuracy@8", treatment="ssmax", control="a",
          margin=0.3, sizes=("quick",), **COMMON),
    Claim(name="huge", says="It scales.", verified=True, setting="paper",
          status="not_tested", **COMMON),
    Claim(name="fair", says="It is fair.", verified=False, setting="mechanism",
          status="not_tested", **COMMON | {"source": ""}),
]
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """Calls the command line on an experiment `tiny` of its own."""
    home = tmp_path / "experiments" / "tiny"
    home.mkdir(parents=True)
    (home / "config.py").write_text(CONFIG)
    (home / "claims.py").write_text(CLAIMS)
    places = ["--folder", str(tmp_path / "runs"), "--experiments", str(home.parent)]
    return lambda *words: cli.main([*words, *places])


def test_run_and_report(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "tiny", "--seeds", "2", "--config.lookup.base.steps=3") == 0
    shown = capsys.readouterr().out
    folder = tmp_path / "runs/tiny/quick"
    assert "inconclusive" in shown and str(folder / "report.md") in shown
    stored = json.loads((folder / "lookup/ssmax/seed-1/result.json").read_text())
    assert stored["config"]["steps"] == 3 and stored["seed"] == 1
    assert stored["metrics"]["scale"] != pytest.approx(0.7, abs=1e-6)
    assert set(stored["environment"]) >= {"python", "packages", "git"}
    assert len(stored["claims_sha256"]) == 64
    for name in ("lookup.png", "lookup.svg", "lookup_weight.png"):
        assert (folder / "figures" / name).stat().st_size > 5000

    assert run("report", "tiny") == 0
    report = capsys.readouterr().out
    assert report == (folder / "report.md").read_text()
    for part in (
        "| accuracy | 4 | 8 |",
        "| ssmax |",
        "| better | stand_in | **inconclusive**",
        "- **huge** (not_tested). It scales. (arXiv 0000.00000, Eq. 7; read in the",
        "not verified in the source",
        "It is fair. (our own control, not the paper's.)",
        "smallest visible effect",
    ):
        assert part in report
    assert "edited" not in report

    claims = tmp_path / "experiments/tiny/claims.py"
    claims.write_text(CLAIMS.replace("margin=0.3", "margin=0.1"))
    assert run("report", "tiny", "--size", "quick") == 0
    assert "claims.py was edited after the run" in capsys.readouterr().out


def test_an_interrupted_experiment_goes_on(
    run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done, patience = [], 1

    def arm(config: object, seed: int, folder: Path, label: str) -> Outcome:
        if len(done) == patience:
            raise KeyboardInterrupt
        done.append(label)
        return Outcome({f"{m}@{n}": 0.5 for m in lookup_figures.LABELS for n in (4, 8)})

    fake = dataclasses.replace(registry.STUDIES["lookup"], run=arm)
    monkeypatch.setitem(registry.STUDIES, "lookup", fake)
    assert run("run", "tiny", "--seeds", "2") == 130
    assert "the same command goes on" in capsys.readouterr().err
    patience = 100
    assert run("run", "tiny", "--seeds", "2") == 0
    # Every arm once, and the one that needs another's parameters last.
    assert [label.split()[1] for label in done] == ["ssmax", "ssmax", "a", "a"]
    assert len(set(done)) == 4
    assert run("run", "tiny", "--seeds", "1", "--first-seed", "7") == 0
    assert [label.split()[-1] for label in done[4:]] == ["7", "7"]
    capsys.readouterr()
    assert run("run", "tiny", "--config.lookup.base.steps=9") == 2
    assert "holds a result of another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tinny"], "no experiment is called 'tinny'; nearest: tiny"),
        (["tiny", "--size", "huge"], "size='huge' is unknown; use quick"),
        (["tiny", "--config.lookup.base.stepps=3"], "stepps is not a setting"),
        (["tiny", "--config.lookup.base.steps=x"], "should be of type int"),
        (["tiny", "--config.lookp.base.steps=3"], "no lookp; nearest: lookup"),
        (["tiny", "--config.lookup.base=3"], "only single settings"),
        (["tiny", "--seeds", "0"], "seeds must be at least 1"),
        (["tiny", "--first-seed", "-1"], "the first seed must not be negative"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    assert run("run", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_place_without_experiments_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "any", "--experiments", str(tmp_path)]) == 2
    assert "there are no experiments in" in capsys.readouterr().err
    assert cli.main(["report", "scalable_softmax", "--folder", str(tmp_path)]) == 2
    assert "holds no finished arm" in capsys.readouterr().err
    assert cli.main(["train", "configs/ml.py"]) == 2
    assert "known: configs/lm.py" in capsys.readouterr().err


def test_a_word_that_is_no_override_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "tiny", "--confg.a=3"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --confg.a=3" in capsys.readouterr().err


def test_list_and_doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "sigsoftmax" in listed and "threshold" in listed
    assert cli.main(["doctor", "--folder", str(tmp_path / "new")]) == 0
    found = capsys.readouterr().out
    for part in ("compiled, right", "TensorFlow   not imported", "can be written"):
        assert part in found
