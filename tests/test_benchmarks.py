"""The benchmarks run, at a size where they say nothing about speed."""

import importlib.util
import io

import pytest
from rich.console import Console

from benchmarks import attention, rows
from benchmarks.timing import Contestant, race, speedup


def shown(tables) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def test_attention_is_compared_with_jax_nn():
    text = shown(attention.tables((8,), ("sigmoid",), heads=1, width=4, rounds=1))
    assert text.count("jax.nn") == 3
    assert text.count("chunked softmax") == 2
    assert text.count("chunked sigmoid") == 1


def test_rows_are_compared_or_a_sentence_says_why_not():
    text = shown(rows.tables(((2, 300),), rounds=1))
    if importlib.util.find_spec("torch") and importlib.util.find_spec("entmax"):
        assert text.count("sj.entmax15") == 1
    else:
        assert " ".join(text.split()) == rows.MISSING


def test_a_race_takes_turns_and_leaves_the_warm_up_out():
    order = []
    runners = [Contestant(name, lambda n=name: order.append(n)) for name in "ab"]
    seconds = race(runners, rounds=2)
    assert order == ["a", "b"] * 3
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_speedup_compares_the_best():
    assert speedup([2.0, 4.0], [8.0, 12.0]) == pytest.approx((4.0, 3.0, 4.0))
