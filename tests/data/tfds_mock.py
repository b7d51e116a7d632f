"""Sets of the TFDS catalogue as if they were prepared: real features, random examples.

TFDS writes two files of facts beside a set's examples. Here they are written from the
code of the catalogue, and `tfds.testing.mock_data` invents the examples.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tfds = pytest.importorskip("tensorflow_datasets")


def coco() -> Any:
    """What coco/2017 consists of; its own code cannot be built without TensorFlow."""
    each = {
        "area": tfds.features.Scalar(np.int64),
        "bbox": tfds.features.BBoxFeature(),
        "id": tfds.features.Scalar(np.int64),
        "is_crowd": tfds.features.Scalar(np.bool_),
        "label": tfds.features.ClassLabel(num_classes=80),
    }
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "image/filename": tfds.features.Text(),
            "image/id": tfds.features.Scalar(np.int64),
            "objects": tfds.features.Sequence(each),
        }
    )


@contextmanager
def prepared(
    folder: Path, name: str, splits: Sequence[str] = ("train",), examples: int = 3
) -> Iterator[None]:
    """Within the context `name` is prepared, with `examples` examples in each part."""
    import_module("tensorflow_datasets.text")
    import_module("tensorflow_datasets.translate")
    if name == "coco/2017":
        features, path, version = coco(), folder / name / "1.1.0", "1.1.0"
    else:
        builder = tfds.builder(name, data_dir=folder)
        features, path = builder.info.features, Path(builder.data_path)
        version = str(builder.version)
    path.mkdir(parents=True)
    features.save_config(path)
    facts = {"name": name.partition("/")[0], "version": version}
    parts = [{"name": part, "shardLengths": [examples]} for part in splits]
    facts |= {"fileFormat": "array_record", "splits": parts}
    (path / "dataset_info.json").write_text(json.dumps(facts))
    with tfds.testing.mock_data(num_examples=examples, data_dir=str(folder)):
        yield
