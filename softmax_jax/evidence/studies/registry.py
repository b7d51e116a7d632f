"""The studies that experiments are made of, one module each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies import (
    discovery,
    dot_product_figures,
    dot_product_scaling,
    frontier,
    frontier_figures,
    histalign,
    language_model,
    length_figures,
    lookup,
    lookup_figures,
    loss_speed,
    many_classes,
    many_classes_figures,
    multilabel,
    multilabel_figures,
    narrow_head,
    rank_law,
    sigsoftmax_figures,
    sparsity_line,
    spectral_aware,
    teacher_student,
    translation,
    translation_figures,
)


@dataclass(frozen=True)
class Study:
    """How one arm is configured and run, and how the results of all arms are drawn.

    Attributes:
      kind: the frozen dataclass that configures an arm.
      run: (config, seed, folder of this arm and seed, label) -> Outcome. A study
        without chance ignores the seed; its experiment gives it `"most_seeds": 1`.
      draw: (results of this study, folder for figures) -> the files it wrote.
    """

    kind: type
    run: Callable[[Any, int, Path, str], Outcome]
    draw: Callable[[Sequence[Result], Path], list[Path]] | None = None


STUDIES = {
    "lookup": Study(lookup.LookupConfig, lookup.run, lookup_figures.draw),
    "language_model": Study(language_model.LanguageModelConfig, language_model.run),
    "discovery": Study(discovery.DiscoveryConfig, discovery.run),
    "dot_product_scaling": Study(
        dot_product_scaling.ScalingConfig,
        dot_product_scaling.run,
        dot_product_figures.draw,
    ),
    "frontier": Study(frontier.FrontierConfig, frontier.run, frontier_figures.draw),
    "length_generalization": Study(
        lookup.LookupConfig, lookup.run, length_figures.draw
    ),
    "translation": Study(
        translation.TranslationConfig, translation.run, translation_figures.draw
    ),
    "sparsity_line": Study(
        sparsity_line.SparsityLineConfig, sparsity_line.run, sparsity_line.draw
    ),
    "multilabel": Study(
        multilabel.MultilabelConfig, multilabel.run, multilabel_figures.draw
    ),
    "many_classes": Study(
        many_classes.ManyClassesConfig, many_classes.run, many_classes_figures.draw
    ),
    "loss_speed": Study(loss_speed.LossSpeedConfig, loss_speed.run),
    "ambiguous_templates": Study(histalign.HistAlignConfig, histalign.run),
    "two_modalities": Study(spectral_aware.SpectralAwareConfig, spectral_aware.run),
    "rank_law": Study(
        rank_law.RankLawConfig, rank_law.run, sigsoftmax_figures.draw_singular_values
    ),
    "teacher_student": Study(teacher_student.TeacherStudentConfig, teacher_student.run),
    "narrow_head": Study(
        narrow_head.NarrowHeadConfig, narrow_head.run, sigsoftmax_figures.draw_losses
    ),
}


def draw(found: Sequence[Result], folder: Path) -> list[Path]:
    """Draws every figure that the results allow and says where they are."""
    made = []
    for name, study in STUDIES.items():
        ours = [result for result in found if result.study == name]
        if ours and study.draw is not None:
            made += study.draw(ours, folder)
    return made
