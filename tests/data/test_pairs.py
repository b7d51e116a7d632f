"""Parallel text: aligned, parted by its own contents, and missed in one sentence."""

from pathlib import Path

import pytest

from softmax_jax.data import catalogues
from softmax_jax.data.catalogues import django, messages_of
from softmax_jax.data.pairs import PairsConfig, cut, load
from softmax_jax.errors import UserError

NUMBERED = [(f"sentence {i}", f"phrase {i}") for i in range(2000)]


def test_parts_share_nothing_and_have_their_shares() -> None:
    parts = cut(NUMBERED, PairsConfig(validation_fraction=0.2, test_fraction=0.1))
    assert sorted(pair for part in parts for pair in part) == sorted(NUMBERED)
    assert len(parts.validation) == pytest.approx(400, abs=60)
    assert len(parts.test) == pytest.approx(200, abs=45)


def test_parts_depend_neither_on_order_nor_on_company() -> None:
    config = PairsConfig(validation_fraction=0.2, test_fraction=0.1)
    whole, half = cut(NUMBERED, config), cut(NUMBERED[::-2], config)
    for part, smaller in zip(whole, half, strict=True):
        assert set(smaller) == set(part) & set(NUMBERED[::-2])


def test_one_source_with_two_translations_stays_in_one_part() -> None:
    twice = [*NUMBERED, *((source, "other") for source, _ in NUMBERED), *NUMBERED]
    parts = cut(twice, PairsConfig(validation_fraction=0.3, test_fraction=0.3))
    sources = [{source for source, _ in part} for part in parts]
    assert sum(map(len, sources)) == 2000
    assert sum(map(len, parts)) == 4000  # the repetition is gone


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("go\tva\tby someone\nrun\tcours\n", encoding="utf-8")
    parts = load(PairsConfig(f"tsv:{path}", "", "", 0.0, 0.0))
    assert parts.train == [("go", "va"), ("run", "cours")]
    path.write_text("go\tva\nrun\n")
    with pytest.raises(UserError, match="line 2: no tab"):
        load(PairsConfig(f"tsv:{path}"))


def write(folder: Path, stem: str, pairs: list[tuple[str, str]]) -> None:
    for language, texts in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{stem}.{language}").write_text("\n".join(texts) + "\n")


def test_a_folder_keeps_the_parts_that_it_has(tmp_path: Path) -> None:
    write(tmp_path, "train", NUMBERED[:5])
    write(tmp_path, "validation", NUMBERED[5:8])
    config = PairsConfig(f"folder:{tmp_path}", "en", "de", 0.0, 0.0)
    assert load(config).train == NUMBERED[:8]  # without a test part, all are joined
    write(tmp_path, "test", NUMBERED[8:9])
    parts = load(config)
    assert [*parts] == [NUMBERED[:5], NUMBERED[5:8], NUMBERED[8:9]]


def test_files_of_unequal_length_are_told(tmp_path: Path) -> None:
    write(tmp_path, "all", NUMBERED[:5])
    (tmp_path / "all.de").write_text("eins\n")
    with pytest.raises(UserError, match="all.en has 5 lines and .*all.de 1"):
        load(PairsConfig(f"folder:{tmp_path}", "en", "de"))


def test_a_catalogue_is_read() -> None:
    catalogue = (
        'msgid ""\nmsgstr ""\n"Language: fr\\n"\n\n'
        '#: a.py\nmsgid "Save"\nmsgstr "Enregistrer"\n\n'
        'msgctxt "menu"\nmsgid ""\n"Say \\"hi\\"\\n"\n"twice"\nmsgstr ""\n"Dire"\n\n'
        '#, fuzzy\nmsgid "Guess"\nmsgstr "Peut-être"\n\n'
        'msgid "%d row"\nmsgid_plural "%d rows"\nmsgstr[0] "a"\nmsgstr[1] "b"\n\n'
        'msgid "Untranslated"\nmsgstr ""\n\n'
        '#~ msgid "Gone"\n#~ msgstr "Parti"\n'
    )
    assert list(messages_of(catalogue)) == [
        ("", "Save", "Enregistrer"),
        ("menu", 'Say "hi"\ntwice', "Dire"),
    ]


def test_django_speaks_many_languages() -> None:
    pytest.importorskip("django")
    there, back = django("en", "fr"), django("fr", "en")
    assert len(there) == 863 and ("Duration", "Durée") in there
    assert back == [pair[::-1] for pair in there]
    assert ("Arabisch", "Arabe") in django("de", "fr")
    parts = load(PairsConfig())
    assert [len(part) for part in parts] == [727, 37, 47]
    with pytest.raises(UserError, match="no messages in 'frr'; use"):
        django("en", "frr")
    with pytest.raises(UserError, match="one language, 'en'"):
        django("en", "en")


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("django")
    monkeypatch.setattr(catalogues, "SHA256", "0" * 64)
    catalogues._files.cache_clear()
    catalogues._messages.cache_clear()
    with pytest.raises(UserError, match="sha256 21bdc2.*instead of 0000"):
        load(PairsConfig())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("django", r"not installed: pip install softmax-jax\[translation\]"),
        ("tvs:PATH", "use tsv:PATH"),
        ("wmt", "use django or manpages or tsv:PATH or folder:PATH or tfds:NAME"),
        ("tsv:/nowhere", "There is no file '/nowhere'"),
        ("folder:/nowhere", "holds no file \\*.en"),
        ("manpages:/nowhere", "no page there is both in 'en' and in 'fr'"),
    ],
)
def test_what_is_missing_is_said(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogues, "find_spec", lambda name: None)
    catalogues._files.cache_clear()
    catalogues._messages.cache_clear()
    with pytest.raises(UserError, match=sentence):
        load(PairsConfig(name))
