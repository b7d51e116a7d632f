"""What is judged is what it is called, and training leaves the embeddings alone."""

import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data.ambiguous_templates import templates
from softmax_jax.errors import UserError
from softmax_jax.evidence.studies import histalign
from softmax_jax.evidence.studies.histalign import CacheModel, HistAlignConfig, Read
from softmax_jax.losses.histalign import Memory
from softmax_jax.optim import OptimizerConfig

OPTIMIZER = OptimizerConfig(learning_rate=5e-3, weight_decay=0.0, warmup=10)
TINY = HistAlignConfig(
    groups=6,
    unseen=2,
    width=16,
    layers=1,
    steps=200,
    batch_size=32,
    optimizer=OPTIMIZER,
)


@pytest.mark.slow
def test_the_layer_alone_is_stuck_at_log_4_and_a_memory_is_not(tmp_path: Path) -> None:
    found = {}
    for loss in ("cross_entropy", "trime"):
        config = dataclasses.replace(TINY, loss=loss)
        found[loss] = histalign.run(config, 0, tmp_path / loss / "seed-0", "").metrics
    assert found["cross_entropy"]["loss_train"] > math.log(4) - 1e-5
    assert found["trime"]["loss_train"] < 1.0 < found["cross_entropy"]["loss_train"]
    assert found["trime"]["cache_train@2"] > 0.9 > found["trime"]["layer_train@2"]


@pytest.mark.slow
def test_what_goes_on_starts_where_the_other_ended(tmp_path: Path) -> None:
    """And the embeddings are bitwise those that were drawn."""
    histalign.run(TINY, 0, tmp_path / "first" / "seed-0", "")
    later = dataclasses.replace(
        TINY,
        loss="histalign_release",
        parameters_from="first",
        steps=100,
        optimizer=dataclasses.replace(OPTIMIZER, learning_rate=1e-9),
    )
    histalign.run(later, 0, tmp_path / "later" / "seed-0", "")
    with (
        np.load(tmp_path / "first" / "seed-0" / "parameters.npz") as first,
        np.load(tmp_path / "later" / "seed-0" / "parameters.npz") as last,
    ):
        made = templates(np.random.default_rng(0), groups=6, unseen=2, width=16)
        np.testing.assert_array_equal(last["embedding"], made.embedding)
        for name in first:
            np.testing.assert_allclose(last[name], first[name], atol=1e-5)


def test_what_is_measured_by_hand() -> None:
    """One sentence with the words 0 and 3; the memory has 3 and another token."""
    tokens, words = jnp.array([[4, 3, 5]]), jnp.array([[0, 3]])
    rows = histalign.Sentences(tokens, tokens, words)
    logits = jnp.log(jnp.array([[[4.0, 1.0, 2.0, 1.0, 1.0, 1.0]]]))
    scores = jnp.log(jnp.array([[[5.0, 5.0, 9.0]]]))
    memory = Memory(tokens, jnp.array([[[True, True, False]]]))

    class Reads(nnx.Module):
        def __call__(self, rows: histalign.Sentences) -> Read:
            return Read(logits, scores, memory)

    found = {}
    for alone in (True, False):
        graph, params = nnx.split(Reads())
        measured = histalign._measure(graph, alone, params, rows)
        found[alone] = {name: float(value) for name, value in measured.items()}
    # The layer: 0 first, and 3 shares the last rank with three others.
    assert found[True]["layer@2"] == found[True]["layer@5"] == 0
    assert found[True]["full@5"] == 0 and found[True]["layer@10"] == 1
    # Jointly: 4, 1, 2, 6, 6, 1 of 20, so 3 and 4 lead 0.
    assert found[False]["full@2"] == 0 and found[False]["full@5"] == 1
    assert found[False]["cache@5"] == 0  # 0 is not in the memory
    assert found[True]["loss"] == pytest.approx(math.log(10) - math.log(4) / 2)
    assert found[False]["loss"] == pytest.approx(math.log(20) - math.log(24) / 2)


@pytest.mark.parametrize("loss", histalign.LOSSES)
def test_embeddings_get_no_gradient_and_the_first_block_does(loss: str) -> None:
    config = dataclasses.replace(TINY, loss=loss)
    made = templates(np.random.default_rng(0), groups=6, unseen=2, width=16)
    graph, params = nnx.split(CacheModel(config, made.embedding, rngs=nnx.Rngs(0)))
    rows = jax.tree.map(lambda x: jnp.asarray(x[:4]), made.train)

    @jax.jit
    @jax.grad
    def gradient(params: nnx.State) -> jax.Array:
        return histalign._objective(config, nnx.merge(graph, params), rows)

    found = gradient(params)
    assert (found["embedding"][...] == 0).all()
    assert (found["blocks"][0]["attention"]["query"]["kernel"][...] != 0).any()


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loss='mle' is unknown"):
        HistAlignConfig(loss="mle")
    with pytest.raises(UserError, match="weight_decay must be 0"):
        HistAlignConfig(optimizer=OptimizerConfig())
    with pytest.raises(UserError, match="has to be run first"):
        config = dataclasses.replace(TINY, parameters_from="first")
        histalign.run(config, 0, tmp_path / "later" / "seed-0", "")
