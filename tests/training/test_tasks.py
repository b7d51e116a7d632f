"""Every kind of run: its loss counts what it should, and it comes to its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.data.buckets import padded
from softmax_jax.data.images import Images
from softmax_jax.errors import UserError
from softmax_jax.training import RunConfig, fit, from_mapping
from softmax_jax.training import program as programs
from softmax_jax.training.config import filled_in
from softmax_jax.training.metrics import read_metrics
from softmax_jax.training.run_folder import read_config
from softmax_jax.training.sharding import Feed
from softmax_jax.training.tasks import base, load
from softmax_jax.training.tasks import objective as objective_of

SMALL = {"layers": 1, "width": 16, "heads": 2, "mlp_width": 16}
STEPS = {"steps": 4, "log_every": 2, "eval_every": 4, "eval_batches": 2}
RUNS = {
    "language_model": {
        "model": SMALL | {"vocabulary": 0},
        "training": STEPS | {"batch_size": 4, "sequence_length": 32},
    },
    "translation": {
        "model": SMALL | {"vocabulary": 0},
        "training": STEPS | {"batch_size": 4, "sequence_length": 16},
    },
    "classification": {
        "model": SMALL | {"classes": 0, "image_size": 0, "channels": 0, "patch": 4},
        "data": {"name": "digits", "shift": 1},
        "training": STEPS | {"batch_size": 32},
    },
}


def make(task, data=None, **training):
    """A small run of a task; changes of its data and its training."""
    run = RUNS[task]
    mapping = run | {
        "task": task,
        "data": run.get("data", {}) | (data or {}),
        "training": run["training"] | training,
        "optimizer": {"warmup": 1, "learning_rate": 0.01},
        "mesh": {"data": 1},
    }
    return from_mapping(RunConfig, mapping)


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    """Sentences of numbers that are to be said backwards."""
    names = "nought one two three four five six seven eight nine".split()
    rng = np.random.default_rng(0)
    lines = []
    for length in rng.integers(1, 8, 300):
        words = [names[i] for i in rng.integers(0, 10, length)]
        lines.append(" ".join(words) + "\t" + " ".join(reversed(words)))
    path = tmp_path_factory.mktemp("pairs") / "numbers.tsv"
    path.write_text("\n".join(lines) + "\n")
    return {"name": f"tsv:{path}", "vocabulary": 60}


@pytest.mark.slow
def test_translation_trains_and_is_judged_by_bleu(pairs_file, tmp_path):
    pytest.importorskip("sentencepiece"), pytest.importorskip("sacrebleu")
    config = make("translation", pairs_file)
    result = fit(config, tmp_path)
    assert result.metrics["train_loss"] < np.log(60) + 0.5
    assert 0 <= result.metrics["validation_accuracy"] <= 1
    assert 0 <= result.metrics["test_bleu"] <= 100
    assert result.metrics["test_sentences"] > 5
    assert (tmp_path / "subwords.model").exists()
    assert load(config, tmp_path).config.model.vocabulary == 60
    again = fit(config, tmp_path)
    assert again.metrics == result.metrics


def test_a_perfect_translator_has_the_best_bleu(pairs_file, tmp_path, monkeypatch):
    pytest.importorskip("sentencepiece"), pytest.importorskip("sacrebleu")
    data = load(make("translation", pairs_file), tmp_path)

    def perfect(_, sentences):
        return [" ".join(reversed(text.split())) for text in sentences]

    monkeypatch.setattr(data, "translated", perfect)
    found = data.judge(None, lambda batches: {})
    assert found["test_bleu"] == pytest.approx(100)
    assert found["test_chrf"] == pytest.approx(100)
    monkeypatch.setattr(data, "translated", lambda _, said: [""] * len(said))
    assert data.judge(None, lambda batches: {})["test_bleu"] == 0


@pytest.mark.slow
def test_classification_trains_and_is_judged_on_its_test_part(tmp_path):
    pytest.importorskip("sklearn")
    config = make("classification", steps=20, eval_batches=100)
    result = fit(config, tmp_path)
    test = load(config, tmp_path).parts.test
    logits = result.model(jnp.asarray(test.images))
    right = np.mean(np.asarray(logits).argmax(-1) == test.labels)
    assert result.metrics["test_accuracy"] == pytest.approx(right)
    losses = base.cross_entropy(logits, jnp.asarray(test.labels), 0.0)
    assert result.metrics["test_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert result.metrics["images_per_second"] > 0
    (last,) = [x for x in read_metrics(tmp_path) if "test_accuracy" in x]
    assert last["step"] == 20


def test_packed_documents_train(tmp_path):
    text = "\n".join(f"n {i}" for i in range(800)) + "\n"
    (tmp_path / "text").write_text(text)
    data = {"name": f"file:{tmp_path / 'text'}", "packed": True}
    result = fit(make("language_model", data), tmp_path / "run")
    assert result.metrics["validation_loss"] < 5.6
    batch = next(load(read_config(tmp_path / "run"), tmp_path).training())
    assert batch.segment_ids.max() > 1


def test_several_texts_are_mixed_by_their_weights(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(f"{name} line\n" * 4000)
    names = [f"file:{tmp_path / name}" for name in "ab"]
    data = {"name": names, "weights": [3, 1]}
    found = load(make("language_model", data), tmp_path)
    rows = np.concatenate([next(iterator) for iterator in [found.training()] * 10])
    of_first = np.mean([(row == ord("a")).any() for row in rows])
    assert of_first == pytest.approx(0.75, abs=0.03)
    with pytest.raises(UserError, match="one share for each of the 2 texts"):
        load(make("language_model", data | {"weights": [1]}), tmp_path)


@pytest.mark.slow
def test_parts_of_a_batch_count_by_their_tokens(pairs_file, tmp_path):
    pytest.importorskip("sentencepiece")
    found = []
    for parts in (1, 2):
        config = make("translation", pairs_file, accumulation=parts)
        program = programs.build(load(config, tmp_path).config)
        rng = np.random.default_rng(1)
        lengths = ((2, 3), (1, 9), (12, 14), (5, 0))
        rows = [tuple(rng.integers(2, 60, n) for n in pair) for pair in lengths]
        batch = Feed(program.batch_sharding).put(padded(rows, 16, 1))
        with jax.set_mesh(program.mesh):
            state, values = program.train_step(program.initial(), batch)
        found.append((values, state.params))
    (one, params), (two, others) = found
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-6)
    np.testing.assert_allclose(two["accuracy"], one["accuracy"], rtol=1e-6)
    for a, b in zip(*map(jax.tree.leaves, (params, others)), strict=True):
        np.testing.assert_allclose(jax.device_get(b), jax.device_get(a), atol=2e-6)


@pytest.mark.slow
def test_images_that_are_not_there_count_for_nothing():
    sizes = {"classes": 10, "image_size": 8, "channels": 1}
    objective = objective_of(filled_in(make("classification"), **sizes))
    model = objective.model(nnx.Rngs(0))
    pixels = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    labels = np.array([3, 1, 7], np.int32)
    whole = objective.sums(model, Images(pixels, labels), None)
    labels = np.append(labels, np.int32(-1))
    wild = np.concatenate([pixels, np.full((1, 8, 8, 1), 1e6, np.float32)])
    filled = objective.sums(model, Images(wild, labels), None)
    for name in ("loss", "accuracy", "count"):
        np.testing.assert_allclose(filled[name], whole[name], rtol=1e-6)


def test_smoothed_cross_entropy_is_that_of_the_smoothed_target():
    logits = jnp.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    labels = jnp.array([0, 2])
    target = 0.9 * np.eye(3)[np.array(labels)] + 0.1 / 3
    expected = -(target * np.asarray(jax.nn.log_softmax(logits))).sum(-1)
    np.testing.assert_allclose(
        base.cross_entropy(logits, labels, 0.1), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"task": "chess"}, "task='chess' is unknown; use language_model or"),
        ({"task": "translation", "data": {"level": "bytes"}}, "data.level is not a"),
    ],
)
def test_mistakes_are_told_in_one_sentence(mapping, message):
    whole = {"model": {"vocabulary": 0}, "data": {}, "optimizer": {}}
    whole |= {"training": {"steps": 1, "batch_size": 1}} | mapping
    with pytest.raises(UserError, match=message):
        from_mapping(RunConfig, whole)


def test_a_sequence_length_that_cannot_be_is_refused(pairs_file, tmp_path):
    with pytest.raises(UserError, match="sequence_length must be at least 1"):
        load(make("language_model", sequence_length=0), tmp_path)
    with pytest.raises(UserError, match="positive multiple of 4 for a translation"):
        load(make("translation", pairs_file, sequence_length=18), tmp_path)
