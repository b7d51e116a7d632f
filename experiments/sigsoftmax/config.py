"""Sigsoftmax against softmax, and MoSS against MoS, in output layers.

quick  the rank law, teachers and students, and a narrow head; minutes on 2 cores
paper  Penn Treebank and WikiText-2 from files, with our Transformer; not run by us

    softmax-jax run sigsoftmax --size quick --seeds 5
"""

from ml_collections import ConfigDict

from configs import lm
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies.narrow_head import NarrowHeadConfig
from softmax_jax.evidence.studies.rank_law import RankLawConfig
from softmax_jax.evidence.studies.teacher_student import TeacherStudentConfig
from softmax_jax.training.config import to_mapping

SIZES = ("quick", "paper")
SIGSOFTMAX = {"link": "sigsoftmax"}
# The paper's number of components; small models get fewer.
COMPONENTS = {"quick": 4, "narrow": 3, "paper": 15}
# About the shares of the three parts of each text, joined in one file.
TEXTS = {
    "ptb": {"vocabulary": 10_000, "shares": (0.068, 0.076)},
    "wikitext2": {"vocabulary": 33_278, "shares": (0.085, 0.096)},
}


def get_config(size: str = "quick") -> ConfigDict:
    """The studies of one size, each with a base and the arms' differences from it."""
    if size not in SIZES:
        raise UserError(f"size={size!r} is unknown; use {', '.join(SIZES)}")
    if size == "paper":
        return ConfigDict({"language_model": _language_model()})
    return ConfigDict(
        {
            "rank_law": {
                "base": to_mapping(RankLawConfig()),
                "arms": _arms(COMPONENTS["quick"]),
            },
            "teacher_student": {
                "base": to_mapping(TeacherStudentConfig()),
                "arms": _arms(COMPONENTS["quick"]) | _crossed(),
            },
            "narrow_head": {
                "base": to_mapping(NarrowHeadConfig()),
                "arms": _arms(COMPONENTS["narrow"]) | {"tanh": {"components": 1}},
            },
        }
    )


def _arms(components: int) -> dict:
    mixture = {"components": components}
    return {
        "softmax": {},
        "sigsoftmax": SIGSOFTMAX,
        "mos": mixture,
        "moss": mixture | SIGSOFTMAX,
    }


def _crossed() -> dict:
    """Students of teachers of their own width, named student_of_teacher."""
    of_softmax, of_sigsoftmax = {"teacher": "softmax"}, {"teacher": "sigsoftmax"}
    return {
        "sigsoftmax_of_softmax": SIGSOFTMAX | of_softmax,
        "sigsoftmax_of_softmax_shift": SIGSOFTMAX | of_softmax | {"shift": True},
        "softmax_of_sigsoftmax": of_sigsoftmax,
        "sigsoftmax_of_sigsoftmax": SIGSOFTMAX | of_sigsoftmax,
    }


def _language_model() -> dict:
    recipe = lm.get_config("small")
    recipe.model = {"vocabulary": 0, "layers": 3, "width": 400, "heads": 8}
    recipe.data.level = "words"
    recipe.optimizer.learning_rate = 1e-3
    recipe.training.update({"steps": 6000, "batch_size": 20, "sequence_length": 70})
    components = COMPONENTS["paper"]
    heads = {
        "softmax": {},
        "sigsoftmax": SIGSOFTMAX,
        "mos": {"head": f"mos(components={components})"},
        "moss": {"head": f"moss(components={components})"},
    }
    arms = {
        f"{text}_{head}": {"run": {"model": model, "data": _data(text)}}
        for text in TEXTS
        for head, model in heads.items()
    }
    base = {"run": recipe.to_dict(), "rows": 0, "sample_length": 0}
    return {"base": base, "arms": arms}


def _data(text: str) -> dict:
    validation, test = TEXTS[text]["shares"]
    return {
        "name": f"file:{text}.txt",
        "vocabulary": TEXTS[text]["vocabulary"],
        "validation_fraction": validation,
        "test_fraction": test,
    }
