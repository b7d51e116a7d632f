"""The King James text as a set of TFDS, made the whole way through its files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from softmax_jax.data import sources

tfds = pytest.importorskip("tensorflow_datasets")


class KingJames(tfds.core.GeneratorBasedBuilder):
    """The verses of data/sources.py, the last thousand for validation."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: object) -> dict:
        verses = sources.kjv().split(b"\n")
        parts = {"train": verses[:-1000], "validation": verses[-1000:]}
        return {part: self._generate_examples(parts[part]) for part in parts}

    def _generate_examples(self, verses: list[bytes]) -> Iterator[tuple[int, dict]]:
        for number, verse in enumerate(verses):
            yield number, {"text": verse}


def prepare(folder: Path) -> None:
    """Writes the set into a folder of TFDS."""
    builder = KingJames(data_dir=folder)
    off = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(file_format="array_record", download_config=off)
