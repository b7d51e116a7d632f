"""Identities to look for were not trained on, and stand where they belong."""

import numpy as np
import pytest

from softmax_jax.data.glyphs import FACES
from softmax_jax.data.two_modalities import Parts, letters, load, synthetic
from softmax_jax.errors import UserError


def sound(parts: Parts, identities: int, unseen: int) -> None:
    train, query, gallery = parts[:3]
    assert np.unique(train.identities).tolist() == list(range(identities))
    assert set(train.modalities.tolist()) == {0, 1}
    for part, modality in ((query, 1), (gallery, 0)):
        assert set(part.modalities.tolist()) == {modality}
        assert len(np.unique(part.identities)) == unseen
        assert part.identities.min() == identities
        assert part.features.dtype == np.float32
    assert train.features.mean() == pytest.approx(0, abs=1e-5)
    assert train.features.std() == pytest.approx(1, abs=1e-5)


def test_synthetic() -> None:
    parts = synthetic(np.random.default_rng(0), identities=5, unseen=4, each=3)
    sound(parts, 5, 4)
    assert len(parts.train.features) == 30 and len(parts.query.features) == 12


def test_an_identity_is_itself_within_a_modality_and_not_across() -> None:
    """Sightings in one modality are nearer to each other than to another identity's."""
    train = synthetic(np.random.default_rng(0), noise=0.1).train
    centred = np.concatenate(
        [x - x.mean(0) for x in (train.features[train.modalities == m] for m in (0, 1))]
    )
    whom = np.concatenate([train.identities[train.modalities == m] for m in (0, 1)])
    likeness = np.corrcoef(centred)
    half = len(whom) // 2
    same = whom[:half, None] == whom[None, :half]
    assert likeness[:half, :half][same].mean() > 0.9
    assert abs(likeness[:half, :half][~same].mean()) < 0.1
    assert (
        abs(likeness[:half, half:][whom[:half, None] == whom[None, half:]].mean()) < 0.2
    )


@pytest.mark.slow
def test_letters() -> None:
    parts = letters(np.random.default_rng(0), identities=12, unseen=10)
    sound(parts, 12, 10)
    assert np.bincount(parts.train.identities).tolist() == [16] * 12
    for part, kinds in ((parts.query, ("Serif", "STIX")), (parts.gallery, ("Sans",))):
        names = {FACES[camera] for camera in part.cameras}
        assert len(names) == 8 and all(any(k in name for k in kinds) for name in names)


def test_mistakes_are_named() -> None:
    for name in ("faces", "sysu:", "regdb"):
        with pytest.raises(UserError, match=f"data='{name}' is unknown"):
            load(name, 0)
