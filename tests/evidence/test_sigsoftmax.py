"""The studies of the softmax bottleneck at toy size, and their figures."""

import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data.text import TextConfig
from softmax_jax.errors import UserError
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies import (
    narrow_head,
    rank_law,
    sigsoftmax_figures,
    teacher_student,
)
from softmax_jax.evidence.studies.narrow_head import NarrowHeadConfig, NarrowModel
from softmax_jax.evidence.studies.rank_law import RankLawConfig
from softmax_jax.evidence.studies.teacher_student import TeacherStudentConfig
from softmax_jax.optim import OptimizerConfig
from softmax_jax.training.config import to_mapping

LAW = RankLawConfig(widths=(2, 3), contexts=20, classes=12, shifts=(4, 30))
FIT = TeacherStudentConfig(
    width=2,
    contexts=24,
    classes=12,
    steps=600,
    optimizer=OptimizerConfig(learning_rate=5e-2, warmup=10, weight_decay=0.0),
)
WORDS = "and God said let there be light and there was light and God saw it ".split()


def test_the_law_holds_for_softmax_alone(tmp_path: Path) -> None:
    sigsoftmax = dataclasses.replace(LAW, link="sigsoftmax")
    found, other = (
        rank_law.run(config, 0, tmp_path, "").metrics for config in (LAW, sigsoftmax)
    )
    for width in (2, 3):
        assert found[f"beyond@{width}"] == found[f"extra_parameters@{width}"] == 0
        assert other[f"beyond@{width}"] == 12 - width - 1
        assert other[f"extra_parameters@{width}"] == 0
    # The error of the limit is about exp(-shift), that of no shift is not small.
    assert other["distance@30"] < 1e-9 < 1e-4 < other["distance@4"]
    assert found["distance@4"] < 1e-12


def test_parameters_of_a_mixture_are_counted(tmp_path: Path) -> None:
    """Two components of width 3: two matrices with biases, and the prior's."""
    config = dataclasses.replace(LAW, components=2, widths=(3,))
    found = rank_law.run(config, 0, tmp_path, "").metrics
    assert found["extra_parameters@3"] == 2 * (3 * 3 + 3) + 3 * 2
    assert "distance@4" not in found


def test_teachers_have_the_rank_they_are_named_for() -> None:
    def rank(name: str) -> int:
        config = dataclasses.replace(FIT, teacher=name)
        log_p = teacher_student.teacher(config, 0)
        np.testing.assert_allclose(np.exp(log_p).sum(-1), 1.0)
        return int(np.linalg.matrix_rank(log_p))

    assert [rank(x) for x in ("softmax", "sigsoftmax", "random")] == [3, 12, 12]
    with pytest.raises(UserError, match="teacher='mos' is unknown; use random, soft"):
        TeacherStudentConfig(teacher="mos")


def test_divergences_by_hand() -> None:
    p, q = np.log([[0.5, 0.5], [0.5, 0.5]]), np.log([[0.5, 0.5], [0.9, 0.1]])
    assert teacher_student.divergence(p, p) == 0
    there = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert teacher_student.divergence(p, q) == pytest.approx(there / 2)
    back = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert teacher_student.divergence(q, p) == pytest.approx(back / 2)


@pytest.mark.slow
def test_a_student_learns_its_own_kind_and_not_a_full_rank(tmp_path: Path) -> None:
    def kl(**changes) -> float:
        config = dataclasses.replace(FIT, **changes)
        found = teacher_student.run(config, 0, tmp_path, "").metrics
        assert found["kl"] == pytest.approx(10 ** found["log10_kl"])
        return found["kl"]

    own, other = kl(teacher="softmax"), kl(teacher="sigsoftmax")
    assert own < 1e-4 < other < 1e-2 < kl()
    shifted = kl(teacher="softmax", link="sigsoftmax", shift=True)
    assert shifted < kl(teacher="softmax", link="sigsoftmax")


@pytest.fixture
def config(tmp_path: Path) -> NarrowHeadConfig:
    text = "\n".join(" ".join(np.roll(WORDS, i)) for i in range(200))
    (tmp_path / "text").write_text(text)
    data = TextConfig(
        f"file:{tmp_path / 'text'}", "words", 0.2, 0.2, vocabulary=len(set(WORDS))
    )
    return NarrowHeadConfig(
        head_width=3,
        data=data,
        width=8,
        layers=1,
        sequence_length=8,
        steps=100,
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup=10),
    )


@pytest.mark.slow
def test_a_narrow_model_learns_words_and_keeps_the_law(
    config: NarrowHeadConfig, tmp_path: Path
) -> None:
    found = narrow_head.run(config, 0, tmp_path, "").metrics
    uniform = math.log(config.data.vocabulary)
    assert found["test_loss"] < 0.8 * uniform
    assert found["test_perplexity"] == pytest.approx(math.exp(found["test_loss"]))
    assert found["beyond"] == 0 and found["tail_energy"] < 1e-24


def look(model: NarrowModel, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """States and losses, compiled at once."""
    return jax.jit(lambda x: (model.states(x[:, :-1]), model.losses(x)))(rows)


def test_models_of_a_seed_share_all_but_the_head(config: NarrowHeadConfig) -> None:
    models = [
        NarrowModel(dataclasses.replace(config, components=k), 9, rngs=nnx.Rngs(0))
        for k in (None, 2)
    ]
    rows = jnp.asarray(narrow_head.windows(np.arange(60) % 9, 8))
    states, losses = zip(*(look(model, rows) for model in models), strict=True)
    np.testing.assert_array_equal(*states)
    first, other = (model.head.weight[...] for model in models)
    np.testing.assert_array_equal(first, other)
    assert not jnp.allclose(*losses)
    # Every word but the first of each window is predicted once.
    assert losses[0].shape == (7, 8) and (rows[1:, 0] == rows[:-1, -1]).all()


def test_the_judge_takes_the_mean_of_whole_calls(config: NarrowHeadConfig) -> None:
    model = NarrowModel(config, 9, rngs=nnx.Rngs(0))
    rows = jnp.asarray(narrow_head.windows(np.arange(300) % 9, 8))
    whole = rows[: len(rows) // narrow_head.JUDGED * narrow_head.JUDGED]
    assert len(whole) < len(rows)
    expected = float(look(model, whole)[1].mean())
    assert narrow_head.judge(model, rows) == pytest.approx(expected, rel=1e-5)


def result(study: str, arm: str, config: object, metrics: dict) -> Result:
    return Result(study, arm, 0, metrics, "", 0.0, to_mapping(config), "", {})


def test_figures_are_drawn(tmp_path: Path) -> None:
    law = [
        result("rank_law", arm, dataclasses.replace(LAW, link=arm), {})
        for arm in ("softmax", "sigsoftmax")
    ]
    made = sigsoftmax_figures.draw_singular_values(law, tmp_path)
    heads = [
        result("narrow_head", arm, NarrowHeadConfig(), metrics)
        for arm, metrics in {
            "softmax": {"test_loss": 4.0, "log10_tail_energy": -30.0},
            "mos": {"test_loss": 3.9, "log10_tail_energy": -2.0},
        }.items()
    ]
    made += sigsoftmax_figures.draw_losses(heads, tmp_path)
    names = [path.name for path in made if path.suffix == ".svg"]
    assert names == ["singular_values.svg", "narrow_head.svg"]
    assert all(path.stat().st_size > 1000 for path in made)
