"""Small folders in the layouts of SYSU-MM01 and RegDB are read by their rules."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softmax_jax.data import two_modalities
from softmax_jax.data.reid_folder import counted, pixels, regdb, sysu
from softmax_jax.errors import UserError


def image(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 8), (brightness,) * 3).save(path)


@pytest.fixture
def sysu_folder(tmp_path: Path) -> Path:
    """Persons 2 and 5 to train, 7 to validate, 4 and 9 to test.

    Person 5 is seen by visible cameras only, 9 not by camera 2.
    """
    for part, people in {"train": "2,5", "val": "7", "test": "4,9"}.items():
        (tmp_path / "exp").mkdir(exist_ok=True)
        (tmp_path / "exp" / f"{part}_id.txt").write_text(people + "\n")
    for camera in range(1, 7):
        for person in (2, 4, 5, 7, 9):
            if (person, camera) in {(5, 3), (5, 6), (9, 2)}:
                continue
            for shot in range(3):
                name = f"cam{camera}/{person:04d}/{shot:04d}.jpg"
                image(tmp_path / name, 20 * person + camera)
    return tmp_path


def test_sysu(sysu_folder: Path) -> None:
    parts = sysu(str(sysu_folder))
    assert set(parts.train.identities.tolist()) == {0, 1}  # 2 and 7; 5 has no infrared
    assert len(parts.train.files) == 2 * 6 * 3
    infrared = np.isin(parts.train.cameras, (3, 6))
    np.testing.assert_array_equal(parts.train.modalities, infrared)
    assert set(parts.query.identities.tolist()) == {4, 9}
    assert set(parts.query.cameras.tolist()) == {3, 6} and len(parts.query.files) == 12
    assert parts.query.modalities.all() and not parts.gallery.modalities.any()
    seen = list(zip(parts.gallery.identities, parts.gallery.cameras, strict=True))
    assert len(seen) == len(set(seen)) == 7  # one of each; 9 is not before camera 2
    for file, person, camera in zip(*parts.query[:3], strict=True):
        assert file.parts[-3:-1] == (f"cam{camera}", f"{person:04d}")
    assert parts.distinct


def test_sysu_settings(sysu_folder: Path) -> None:
    indoor = sysu(str(sysu_folder), indoor=True, shots=10)
    assert set(indoor.gallery.cameras.tolist()) == {1, 2}
    assert len(indoor.gallery.files) == 3 * 3
    drawn = [sysu(str(sysu_folder), trial=i).gallery.files for i in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_queries_of_camera_3_skip_the_gallery_of_camera_2(sysu_folder: Path) -> None:
    parts = sysu(str(sysu_folder))
    found = counted(parts.query.cameras, parts.gallery.cameras, parts.skipped)
    for row, camera in zip(found, parts.query.cameras, strict=True):
        expected = (
            parts.gallery.cameras != 2 if camera == 3 else np.ones(len(row), bool)
        )
        np.testing.assert_array_equal(row, expected)


@pytest.fixture
def regdb_folder(tmp_path: Path) -> Path:
    """Persons 0 and 1 to train, 0 and 1 again, others, to test."""
    (tmp_path / "idx").mkdir()
    for part, brightness in {"train": 50, "test": 150}.items():
        for modality in ("visible", "thermal"):
            lines = []
            for person in (0, 1):
                name = f"{modality.title()}/{part}{person}/a b.bmp"
                image(tmp_path / name, brightness + person)
                lines.append(f"{name} {person}")
            file = tmp_path / "idx" / f"{part}_{modality}_3.txt"
            file.write_text("\n".join(lines) + "\n")
    return tmp_path


def test_regdb_in_both_directions(regdb_folder: Path) -> None:
    parts = regdb(str(regdb_folder), trial=3)
    assert parts.train.identities.tolist() == [0, 1, 0, 1]
    assert parts.train.modalities.tolist() == [0, 0, 1, 1]
    assert parts.query.modalities.tolist() == [1, 1] and not parts.distinct
    assert parts.gallery.modalities.tolist() == [0, 0]
    assert all("Thermal" in str(file) for file in parts.query.files)
    back = regdb(str(regdb_folder), trial=3, query="visible")
    assert back.query.files == parts.gallery.files
    assert counted(parts.query.cameras, parts.gallery.cameras, parts.skipped).all()


def test_pixels(regdb_folder: Path) -> None:
    found = pixels(regdb(str(regdb_folder), trial=3).query, 4, 3)
    assert found.shape == (2, 4, 3, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], 150 / 255, atol=1e-6)


def test_mistakes_are_named(tmp_path: Path, regdb_folder: Path) -> None:
    with pytest.raises(UserError, match="train_id.txt is missing"):
        sysu(str(tmp_path))
    with pytest.raises(UserError, match="train_visible_4.txt is missing"):
        regdb(str(regdb_folder), trial=4)
    with pytest.raises(UserError, match="query='infrared' is unknown"):
        regdb(str(regdb_folder), query="infrared")
    parts = regdb(str(regdb_folder), trial=3)
    parts.query.files[0].write_bytes(b"no image")
    with pytest.raises(UserError, match="not an image that can be read"):
        pixels(parts.query, 4, 3)


def test_folders_are_sets_of_two_modalities(
    sysu_folder: Path, regdb_folder: Path
) -> None:
    """Rows of pixels, whose people, modalities and cameras are those of the files."""
    parts = two_modalities.load(f"sysu:{sysu_folder}", 0)
    listed = sysu(str(sysu_folder))
    for seen, listing in zip(parts[:3], listed[:3], strict=True):
        assert seen.features.shape == (len(listing.files), 24 * 12 * 3)
        np.testing.assert_array_equal(seen.identities, listing.identities)
        np.testing.assert_array_equal(seen.modalities, listing.modalities)
        np.testing.assert_array_equal(seen.cameras, listing.cameras)
    assert parts.skipped == ((3, 2),) and parts.distinct
    assert parts.train.features.std() == pytest.approx(1, abs=1e-5)
    assert not two_modalities.load(f"regdb:{regdb_folder}", 2).distinct  # trial 3
