"""Prepared sets of TFDS train, whole in memory or read as they are needed."""

from pathlib import Path

import pytest

from softmax_jax.training import RunConfig, fit, from_mapping
from softmax_jax.training import program as programs
from softmax_jax.training.tasks import load
from softmax_jax.training.tasks import objective as objective_of

tfds = pytest.importorskip("tensorflow_datasets")
mock = pytest.importorskip("tests.data.tfds_mock")
king_james = pytest.importorskip("tests.data.king_james")

SHAPE = {"layers": 1, "width": 16, "heads": 2}


@pytest.fixture
def tfds_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of TFDS's own, as $TFDS_DATA_DIR makes it."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_a_prepared_text_trains(tfds_folder: Path, packed: bool) -> None:
    king_james.prepare(tfds_folder)
    mapping = {
        "model": SHAPE | {"vocabulary": 0},
        "data": {"name": "tfds:king_james", "packed": packed},
        "optimizer": {"learning_rate": 0.01, "warmup": 2},
        "training": {"steps": 12, "batch_size": 4, "sequence_length": 160},
        "mesh": {"data": 1},
    }
    mapping["training"] |= {"eval_every": 12, "eval_batches": 2, "log_every": 4}
    result = fit(from_mapping(RunConfig, mapping), tfds_folder / "run")
    assert result.metrics["validation_loss"] < 5.2
    if packed:
        batch = next(load(from_mapping(RunConfig, mapping), tfds_folder).training())
        assert batch.segment_ids.max() > 1


def test_images_of_a_prepared_set_are_read_and_scaled(tfds_folder: Path) -> None:
    with mock.prepared(tfds_folder, "cifar10", ("train", "test"), examples=6):
        mapping = {
            "task": "classification",
            "model": SHAPE | {"classes": 0, "image_size": 0, "channels": 0, "patch": 8},
            "data": {"name": "tfds:cifar10", "size": 24, "shift": 2},
            "optimizer": {"warmup": 0},
            "training": {"steps": 1, "batch_size": 4},
            "mesh": {"data": 1},
        }
        data = load(from_mapping(RunConfig, mapping), tfds_folder)
        assert data.config.model.classes == 10 and data.config.model.image_size == 24
        first, second = data.training(), data.training()
        images, labels = next(first)
        assert images.shape == (4, 24, 24, 3) and 0 <= images.min() <= images.max() <= 1
        next(second)
        assert (next(first).images == next(second).images).all()
        judged = list(data.validation())
        assert [list(batch.labels >= 0) for batch in judged] == [
            [True] * 4,
            [True, True, False, False],
        ]
        program = programs.build(data.config)
        assert objective_of(data.config).shapes().images.shape == images.shape
        assert program.shapes.params
