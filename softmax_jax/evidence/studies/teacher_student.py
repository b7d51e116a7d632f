"""The teacher-student study: which distributions a head of small width can take on."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.evidence.studies.output_head import (
    Given,
    OutputHead,
    in_float64,
    rank_metrics,
    shifted,
)
from softmax_jax.heads import mixture_log_probabilities
from softmax_jax.optim import OptimizerConfig, make_optimizer
from softmax_jax.training.progress import progress_bar

CHUNK = 500  # training steps per call
TEACHERS = ("random", "softmax", "sigsoftmax")


@dataclass(frozen=True)
class TeacherStudentConfig:
    """One arm of the teacher-student study.

    Attributes:
      teacher: "random", log-softmax of a matrix of normal logits, of full rank; or a
        random head of the student's width with the link "softmax" or "sigsoftmax".
      link, components: of the student; see `OutputHead`.
      shift: whether the student can add a number to all logits of a context.
      width, contexts, classes: of the student, and of the matrix it learns.
      spread: the deviation of the teacher's logits.
      steps, optimizer: of the training, every step on all contexts.
    """

    teacher: str = "random"
    link: str = "softmax"
    components: int | None = None
    shift: bool = False
    width: int = 8
    contexts: int = 256
    classes: int = 128
    spread: float = 2.0
    steps: int = 2000
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=3e-2, final_fraction=0.01, weight_decay=0.0
    )

    def __post_init__(self) -> None:
        if self.teacher not in TEACHERS:
            raise UserError(
                f"teacher={self.teacher!r} is unknown; use {', '.join(TEACHERS)}"
            )


class Student(nnx.Module):
    """A head and its contexts, both free."""

    def __init__(self, config: TeacherStudentConfig, *, rngs: nnx.Rngs):
        shape = (config.contexts, config.width)
        self.contexts = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.shift = nnx.Param(jnp.zeros((config.contexts, 1)))
        self.shifts = config.shift
        shape = (config.width, config.width, config.classes)
        self.head = OutputHead(*shape, config.link, config.components, rngs=rngs)

    def given(self) -> Given:
        given = self.head.given(self.contexts[...])
        return shifted(given, self.shift[...]) if self.shifts else given


def run(config: TeacherStudentConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Fits a student to a teacher by KL(teacher || student).

    `kl` is that in nats, the mean over contexts, and `kl_reverse` KL(student ||
    teacher), both in float64; `rank_metrics` are those of the student.
    """
    target = teacher(config, seed)
    student = Student(config, rngs=nnx.Rngs(seed))
    _train(config, student, jnp.asarray(target, jnp.float32), label)
    learned = in_float64(student.given(), config.link)
    kl = divergence(target, learned)
    found = {"kl": kl, "log10_kl": float(np.log10(max(kl, 1e-40)))}
    found |= {"kl_reverse": divergence(learned, target)}
    return Outcome(found | rank_metrics(learned, config.width))


def teacher(config: TeacherStudentConfig, seed: int) -> np.ndarray:
    """Log-probabilities [contexts, classes] in float64."""
    rng = np.random.default_rng(seed)
    inner = config.classes if config.teacher == "random" else config.width
    contexts = rng.normal(size=(config.contexts, 1, inner))
    weight = rng.normal(size=(config.classes, inner)) * config.spread / inner**0.5
    if config.teacher == "random":
        # Rows of the identity: every context's logits are its own.
        contexts, weight = config.spread * contexts, np.eye(inner)
    nothing = np.zeros((config.contexts, 1)), np.zeros(config.classes)
    given = Given(contexts, nothing[0], weight, nothing[1])
    return in_float64(given, "softmax" if inner == config.classes else config.teacher)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """The mean over rows of KL(p || q), of logarithms."""
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def _train(
    config: TeacherStudentConfig, student: Student, target: Array, label: str
) -> None:
    graph, params = nnx.split(student)
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    state = jax.tree.map(jnp.copy, (params, optimizer.init(params)))
    with progress_bar(config.steps, label) as bar:
        for start in range(0, config.steps, CHUNK):
            steps = min(CHUNK, config.steps - start)
            state, loss = _chunk(config, graph, steps, state, target)
            bar.update(steps, loss=f"{float(loss):.4f}")
    nnx.update(student, state[0])


@partial(jax.jit, static_argnames=("config", "graph", "steps"), donate_argnums=3)
def _chunk(
    config: TeacherStudentConfig,
    graph: nnx.GraphDef,
    steps: int,
    state: tuple[Any, Any],
    target: Array,
) -> tuple[tuple[Any, Any], Array]:
    """So many steps, and the last loss, less the teacher's entropy."""
    optimizer = make_optimizer(config.optimizer, config.steps, state[0])
    p = jnp.exp(target)

    def loss(params: Any) -> Array:
        given = nnx.merge(graph, params).given()
        learned = mixture_log_probabilities(*given, link=config.link)
        return (p * (target - learned)).sum(-1).mean()

    def step(state: tuple[Any, Any], _: None) -> tuple[Any, Array]:
        params, inner = state
        value, gradient = jax.value_and_grad(loss)(params)
        updates, inner = optimizer.update(gradient, inner, params)
        return (optax.apply_updates(params, updates), inner), value

    state, losses = jax.lax.scan(step, state, length=steps)
    return state, losses[-1]
