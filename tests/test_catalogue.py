"""Names, spec strings, and the sentence for a wrong one."""

import inspect

import jax
import jaxtyping
import pytest

import softmax_jax as sj
from softmax_jax.normalizers.parameters import settable

pytestmark = pytest.mark.core


@pytest.mark.parametrize("name", sj.CATALOGUE)
def test_function_class_name_and_spec_are_one(name):
    row = sj.CATALOGUE[name]
    assert row.function.__name__ == name
    assert row.cls.__name__.lower() == name.replace("_", "")
    assert inspect.signature(getattr(sj, f"log_{name}")) == inspect.signature(
        row.function
    )
    assert getattr(sj, name) is row.function
    assert getattr(sj, row.cls.__name__) is row.cls
    assert sj.parse(name) == row.cls()
    keywords = set(inspect.signature(row.function).parameters) - {"x", "axis", "where"}
    assert keywords == set(settable(row.cls))


@pytest.mark.parametrize("name", sj.CATALOGUE)
def test_function_and_class_share_their_defaults(name):
    row = sj.CATALOGUE[name]
    keywords = inspect.signature(row.function).parameters
    for field in settable(row.cls):
        assert keywords[field].default == getattr(row.cls(), field)


def test_no_two_rows_are_one_structure_to_jit():
    """Else what was compiled for one could be run for the other."""
    structures = [jax.tree.structure(row.cls()) for row in sj.CATALOGUE.values()]
    equal = [a == b for a in structures for b in structures]
    assert sum(equal) == len(structures)


def test_parse_reads_parameters():
    assert sj.parse("entmax(alpha=1.25)") == sj.Entmax(alpha=1.25)
    assert sj.parse(" ssmax(scale=0.5, bias=-1) ") == sj.SSMax(scale=0.5, bias=-1)
    instance = sj.Softmax1(sink=2.0)
    assert sj.parse(instance) is instance


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("softmx", "nearest: softmax"),
        ("entmax(alfa=1.5)", "no parameter 'alfa'; nearest: alpha"),
        ("sparsemax(k=3)", "sparsemax has no parameter 'k'"),
        ("entmax(1.5)", "not a normalizer spec"),
        ("entmax(alpha=)", "not a normalizer spec"),
        ("entmax(alpha=[1, 2])", "not a normalizer spec"),
        ("__import__('os')", "not a normalizer spec"),
        ("entmax(alpha=0.5)", "alpha must lie strictly between 1 and inf"),
    ],
)
def test_a_wrong_spec_gets_one_sentence(spec, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        sj.parse(spec)


def test_what_is_neither_gets_one_sentence():
    with pytest.raises(
        (sj.UserError, jaxtyping.TypeCheckError), match="normalizer|spec"
    ):
        sj.parse(3)


def test_the_table_has_every_row_and_no_empty_cell():
    table = sj.table()
    assert [row["name"] for row in table] == list(sj.CATALOGUE)
    assert all(row["formula"] and row["paper"] and row["tags"] for row in table)
