"""TensorFlow Datasets by name, read from ArrayRecord files without TensorFlow.

A set is prepared once, with TFDS's own command, which for many sets needs TensorFlow,
in an environment of its own if you like; here it is read and never downloaded.
The folder of the sets is that of TFDS: `$TFDS_DATA_DIR`, or ~/tensorflow_datasets.
Examples are reached by number, so a shuffled order has a position to go back to.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import grain
import numpy as np

from softmax_jax.errors import UserError

INSTALL = "pip install softmax-jax[tfds]"
TEXT = ("text", "book_text")  # the features that hold a document, in this order
SENTENCES = (  # TFDS does not keep the order of features
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence",),
)
BLOCK = 1000  # documents
LARGEST = 16 * 2**30  # bytes of a set that is read whole


def texts(name: str, split: str) -> grain.MapDataset:
    """The documents of a text set, as bytes: `lm1b`, `wiki40b/en`, `pg19`, `c4/en`."""
    source = read(name, split)
    key = _text_key(name, source)
    return _mapped(source, lambda example: _bytes(example[key]))


def joined(name: str) -> dict[str, bytes]:
    """The parts of a text set as one text each, a line end after every document."""
    splits = prepared(name).info.splits
    parts = [part for part in ("train", "validation", "test") if part in splits]
    size = sum(splits[part].num_bytes for part in parts)
    if size > LARGEST:
        raise UserError(
            f"{name!r} holds {size / 2**30:.0f} GiB, more than the {LARGEST // 2**30} "
            "that are read into memory; stream it with softmax_jax.data.packing."
        )
    if "train" not in parts:
        raise UserError(f"{name!r} has no training part; it has {', '.join(splits)}.")
    return {part: b"".join(_lines(name, read(name, part))) for part in parts}


def _lines(name: str, source: Any) -> Iterator[bytes]:
    """Documents in their order, read in blocks: six times as fast as one by one."""
    key = _text_key(name, source)
    for start in range(0, len(source), BLOCK):
        block = range(start, min(start + BLOCK, len(source)))
        for example in source.__getitems__(list(block)):
            yield _bytes(example[key]) + b"\n"


def _text_key(name: str, source: Any) -> str:
    for key in TEXT:
        if key in features(source):
            return key
    raise _other_kind(name, "text", source)


def pairs(name: str, split: str, source: str, target: str) -> grain.MapDataset:
    """(source, target) sentences of a translation set such as `wmt14_translate/de-en`.

    Either of the set's languages may be the source.
    """
    examples = read(name, split)
    if not {source, target} <= set(features(examples)):
        raise _other_kind(name, f"{source}-{target} translation", examples)
    return _mapped(examples, lambda pair: (_text(pair[source]), _text(pair[target])))


def images(name: str, split: str) -> grain.MapDataset:
    """{"image": uint8 [height, width, channels], "label": int32} of a labelled set.

    Heights and widths are those of the files: a set of photographs has many.
    """
    source = read(name, split)
    if not {"image", "label"} <= set(features(source)):
        raise _other_kind(name, "image", source)

    def plain(example: Mapping[str, Any]) -> dict[str, Any]:
        label = np.int32(example["label"])
        return {"image": np.asarray(example["image"]), "label": label}

    return _mapped(source, plain)


def multilabel(name: str, split: str) -> grain.MapDataset:
    """{"image": uint8 [height, width, channels], "labels": bool [classes]}.

    For `voc/2007` (classes in the picture), `coco/2017` (classes of its objects) and
    `celeb_a` (attributes of a face, in the order of their names).
    """
    source = read(name, split)
    kinds = features(source)
    if "attributes" in kinds:
        names = sorted(kinds["attributes"])

        def labels(example: Mapping[str, Any]) -> np.ndarray:
            return np.array([bool(example["attributes"][name]) for name in names])
    elif "labels" in kinds:
        classes = kinds["labels"].feature.num_classes

        def labels(example: Mapping[str, Any]) -> np.ndarray:
            return _marked(example["labels"], classes)
    elif "objects" in kinds:
        objects = kinds["objects"].feature["label"].num_classes

        def labels(example: Mapping[str, Any]) -> np.ndarray:
            return _marked(example["objects"]["label"], objects)
    else:
        raise _other_kind(name, "multi-label", source)

    def plain(example: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"image": np.asarray(example["image"]), "labels": labels(example)}

    return _mapped(source, plain)


def sentences(name: str, split: str) -> grain.MapDataset:
    """{"texts": one or two sentences, "label": a class; for `glue/stsb` a number}."""
    source = read(name, split)
    found = set(features(source))
    fitting = [keys for keys in SENTENCES if {*keys, "label"} <= found]
    if not fitting:
        raise _other_kind(name, "labelled sentence", source)

    def plain(example: Mapping[str, Any]) -> dict[str, Any]:
        spoken = tuple(_text(example[key]) for key in fitting[0])
        return {"texts": spoken, "label": np.asarray(example["label"])[()]}

    return _mapped(source, plain)


def read(name: str, split: str) -> Any:
    """The raw examples of one part of a prepared set; `train[:10%]` is one, too."""
    builder = prepared(name)
    try:
        return builder.as_data_source(split)
    except NotImplementedError as error:
        raise UserError(
            f"{name!r} is prepared, but not as ArrayRecord: "
            f"{_command(name)} --overwrite"
        ) from error
    except (KeyError, ValueError) as error:
        parts = " or ".join(builder.info.splits)
        raise UserError(f"{name!r} has no part {split!r}; use {parts}.") from error


def prepared(name: str) -> Any:
    """The TFDS builder of a set that is on this disk.

    It is made from the set's own files and not from the code that generates them,
    which for some sets needs TensorFlow, and for none is needed to read.
    """
    tfds = _tfds()
    files = import_module("tensorflow_datasets.core.read_only_builder")
    try:
        return files.builder_from_files(name)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise _absent(name, tfds) from error
    except ValueError as error:
        raise UserError(f"{name!r} cannot be read: {error}".split("\n")[0]) from error


def features(source: Any) -> Any:
    """What an example consists of, by key."""
    return source.dataset_info.features


def _tfds() -> ModuleType:
    if find_spec("tensorflow_datasets") is None:
        raise UserError(
            f"sets of TensorFlow Datasets need its package, which is missing: {INSTALL}"
        )
    for old in ("text", "translate"):  # these register their names when imported
        import_module(f"tensorflow_datasets.{old}")
    return import_module("tensorflow_datasets")


def _absent(name: str, tfds: ModuleType) -> UserError:
    """What to do about a set that is not on this disk."""
    known, config = [*name.split(":")[0].split("/"), ""][:2]
    names = tfds.list_builders(with_community_datasets=False)
    if known not in names:
        near = " or ".join(get_close_matches(known, names))
        hint = f"; did you mean {near}?" if near else "."
        return UserError(f"TensorFlow Datasets knows no set {known!r}{hint}")
    configs = list(tfds.builder_cls(known).builder_configs)
    if config and config not in configs:
        near = " or ".join(get_close_matches(config, configs) or configs)
        return UserError(f"{known!r} has no configuration {config!r}; use {near}.")
    return UserError(f"{name!r} is not prepared: {_command(name)}")


def _command(name: str) -> str:
    return f"tfds build {name} --file_format=array_record"


def _other_kind(name: str, kind: str, source: Any) -> UserError:
    found = ", ".join(sorted(features(source)))
    return UserError(f"{name!r} is not a {kind} set: its examples have {found}.")


def _mapped(source: Any, plain: Any) -> grain.MapDataset:
    return grain.MapDataset.source(source).map(plain)


def _marked(present: Any, classes: int) -> np.ndarray:
    marks = np.zeros(classes, bool)
    marks[np.asarray(present, int)] = True
    return marks


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
