"""Sets of the TFDS catalogue, and a text that makes the whole way through its files."""

import json
import shutil
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import grain
import numpy as np
import pytest

from softmax_jax.data import sources, tfds_source
from softmax_jax.data.batches import train_batches
from softmax_jax.data.codecs import Bytes
from softmax_jax.data.packing import packed_batches
from softmax_jax.data.pairs import PairsConfig
from softmax_jax.data.pairs import load as load_pairs
from softmax_jax.data.text import TextConfig, load
from softmax_jax.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")
mock = pytest.importorskip("tests.data.tfds_mock")
built = pytest.importorskip("tests.data.king_james")

TEXTS = ["lm1b", "wiki40b/en", "pg19", "tiny_shakespeare", "c4/en"]
IMAGES = {
    "imagenet2012": 1000,
    "imagenet_resized/32x32": 1000,
    "cifar10": 10,
    "svhn_cropped": 10,
    "mnist": 10,
    "fashion_mnist": 10,
    "omniglot": 1623,
    "caltech_birds2011": 200,
}
MULTILABEL = {"voc/2007": 20, "coco/2017": 80, "celeb_a": 40}
PAIRS = {
    "wmt14_translate/de-en": ("de", "en"),
    "wmt16_translate/ro-en": ("ro", "en"),
    "ted_hrlr_translate/pt_to_en": ("pt", "en"),
}
GLUE = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
    "stsb": ("sentence1", "sentence2"),
}


@pytest.mark.parametrize("recipe", ["lm", "vit", "translation"])
def test_the_sets_of_the_paper_sizes_are_among_those_tried_here(recipe: str) -> None:
    config = import_module(f"configs.{recipe}").get_config("paper")
    assert config.data.name.removeprefix("tfds:") in {*TEXTS, *IMAGES, *PAIRS}


@pytest.mark.parametrize("name", TEXTS)
def test_text_sets(name: str, tmp_path: Path) -> None:
    with mock.prepared(tmp_path, name):
        documents = list(tfds_source.texts(name, "train"))
    assert len(documents) == 3
    assert all(isinstance(text, bytes) and len(text) >= 10 for text in documents)


@pytest.mark.parametrize("name", IMAGES)
def test_image_sets(name: str, tmp_path: Path) -> None:
    with mock.prepared(tmp_path, name):
        source = tfds_source.images(name, "train")
        rows = list(source)
        classes = tfds_source.features(tfds_source.read(name, "train"))["label"]
    assert classes.num_classes == IMAGES[name] and len(rows) == 3
    for row in rows:
        assert row["image"].dtype == np.uint8 and row["image"].ndim == 3
        assert row["label"].dtype == np.int32 and row["label"] < IMAGES[name]


@pytest.mark.parametrize("name", MULTILABEL)
def test_multilabel_sets(name: str, tmp_path: Path) -> None:
    with mock.prepared(tmp_path, name):
        rows = list(tfds_source.multilabel(name, "train"))
    assert [row["labels"].shape for row in rows] == [(MULTILABEL[name],)] * 3
    assert all(row["labels"].dtype == bool and row["labels"].any() for row in rows)
    assert all(row["image"].dtype == np.uint8 for row in rows)


@pytest.mark.parametrize("name", PAIRS)
def test_translation_sets(name: str, tmp_path: Path) -> None:
    there, back = PAIRS[name], PAIRS[name][::-1]
    with mock.prepared(tmp_path, name):
        pairs = list(tfds_source.pairs(name, "train", *there))
        reversed_pairs = list(tfds_source.pairs(name, "train", *back))
        with pytest.raises(UserError, match="not a de-fr translation set"):
            tfds_source.pairs(name, "train", "de", "fr")
    assert len(pairs) == 3 and isinstance(pairs[0][0], str)
    assert [pair[::-1] for pair in pairs] == reversed_pairs


@pytest.mark.parametrize("task", GLUE)
def test_glue_sets(task: str, tmp_path: Path) -> None:
    with mock.prepared(tmp_path, f"glue/{task}"):
        rows = list(tfds_source.sentences(f"glue/{task}", "train"))
        raw = tfds_source.read(f"glue/{task}", "train")
        texts = [tuple(raw[i][key] for key in GLUE[task]) for i in range(3)]
    kind = np.floating if task == "stsb" else np.integer
    assert [row["texts"] for row in rows] == texts
    assert all(isinstance(row["label"], kind) for row in rows)


def test_a_set_of_another_kind_is_refused(tmp_path: Path) -> None:
    with mock.prepared(tmp_path, "mnist"):
        for reader in (tfds_source.texts, tfds_source.multilabel):
            with pytest.raises(
                UserError, match="'mnist' is not a .* have image, label"
            ):
                reader("mnist", "train")
        with pytest.raises(UserError, match="has no part 'dev'; use train"):
            tfds_source.images("mnist", "dev")


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    """In a process of its own: another test may have imported it."""
    code = (
        "import sys; from pathlib import Path; sys.path.append('tests/data')\n"
        "import tfds_mock; from softmax_jax.data import tfds_source\n"
        "with tfds_mock.prepared(Path(sys.argv[1]), 'cifar10'):\n"
        "    tfds_source.images('cifar10', 'train')[0]\n"
        "assert 'tensorflow_datasets' in sys.modules\n"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lm1b", "'lm1b' is not prepared: tfds build lm1b --file_format=array_record$"),
        ("glue/sst2", "not prepared: tfds build glue/sst2 "),
        ("coco/2017", "not prepared: tfds build coco/2017 "),
        ("wmt14_translate/de-en", "not prepared: tfds build wmt14_translate/de-en "),
        ("lm1bb", "TensorFlow Datasets knows no set 'lm1bb'; did you mean lm1b"),
        ("slimpajama", "TensorFlow Datasets knows no set 'slimpajama'.$"),
        ("wmt14_translate/de-eng", "no configuration 'de-eng'; use de-en"),
        ("a b", "'a b' cannot be read: Parsing builder name string a b failed.$"),
    ],
)
def test_without_a_network_it_is_said_within_a_second(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocked(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    tfds_source._tfds()
    for where in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, where, blocked)
    start = time.perf_counter()
    with pytest.raises(UserError, match=sentence):
        load(TextConfig(f"tfds:{name}"))
    assert time.perf_counter() - start < 1


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_source, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install softmax-jax\[tfds\]"):
        tfds_source.texts("lm1b", "train")


@pytest.fixture(scope="module")
def king_james(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TFDS folder in which the King James text is prepared."""
    folder = tmp_path_factory.mktemp("tfds")
    built.prepare(folder)
    return folder


@pytest.fixture
def tfds_folder(king_james: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as TFDS's own folder, as $TFDS_DATA_DIR makes it at the start."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(king_james))
    return king_james


def test_a_prepared_text_comes_back_whole_through_grain(tfds_folder: Path) -> None:
    """TFDS writes in an order of its own, so the verses are compared as a multiset."""
    train = tfds_source.texts("king_james", "train")
    validation = tfds_source.texts("king_james", "validation")
    assert (len(train), len(validation)) == (30_103, 1000)
    verses = sources.kjv().split(b"\n")
    assert sorted(validation[:]) == sorted(verses[-1000:])
    shuffled = train.seed(0).shuffle()[:300]
    found = [shuffled[i] for i in range(300)]
    assert set(found) <= set(verses[:-1000]) and found != [train[i] for i in range(300)]
    whole = tfds_source.joined("king_james")["train"].splitlines()
    assert sorted(whole) == sorted(verses[:-1000])


def test_a_prepared_text_is_a_corpus(tfds_folder: Path) -> None:
    corpus = load(TextConfig("tfds:king_james"))
    own = tfds_source.joined("king_james")["validation"]
    assert corpus.validation.tobytes() == own
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == 4_137_452
    assert len(corpus.test) == pytest.approx(0.05 * len(corpus.train) / 0.95, rel=0.01)
    batches = train_batches(corpus.train, 16, 4, seed=0)
    assert next(batches).shape == (4, 17)


def test_a_prepared_text_is_packed_from_disk(tfds_folder: Path) -> None:
    """What is streamed is taken up again where it was left."""

    def batches() -> grain.DatasetIterator:
        documents = tfds_source.texts("king_james", "train")
        return packed_batches(documents, Bytes().encode, 256, 4, seed=0)

    iterator = batches()
    verses = set(sources.kjv().split(b"\n"))
    for batch in (next(iterator), next(iterator)):
        for tokens, segments in zip(batch.tokens, batch.segment_ids, strict=True):
            verse = tokens[segments == 1].astype(np.uint8).tobytes()
            assert len(verse) > 256 or any(verse in whole for whole in verses)
    fresh = batches()
    fresh.set_state(json.loads(json.dumps(iterator.get_state())))
    np.testing.assert_array_equal(next(fresh).tokens, next(iterator).tokens)


def test_what_is_too_large_for_memory_is_not_begun(
    tfds_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfds_source, "LARGEST", 2**20)
    with pytest.raises(UserError, match="more than the 0 that are read into memory"):
        load(TextConfig("tfds:king_james"))


def test_another_file_format_is_told_with_the_command(
    king_james: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(king_james / "king_james", tmp_path / "king_james")
    facts = tmp_path / "king_james" / "1.0.0" / "dataset_info.json"
    facts.write_text(facts.read_text().replace("array_record", "tfrecord"))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="array_record --overwrite"):
        load(TextConfig("tfds:king_james"))


def test_a_translation_set_keeps_its_parts(tmp_path: Path) -> None:
    name = "wmt14_translate/de-en"
    with mock.prepared(tmp_path, name, ("train", "validation", "test")):
        parts = load_pairs(PairsConfig(f"tfds:{name}", "de", "en"))
        assert [len(part) for part in parts] == [3, 3, 3]
        assert parts.test[0] == tfds_source.pairs(name, "test", "de", "en")[0]
