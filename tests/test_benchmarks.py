"""The benchmarks run, on sizes that measure nothing."""

from rich.table import Table

from benchmarks import attention, rows


def test_every_race_of_attention_is_a_table():
    tables = attention.tables(
        lengths=(16,), names=("relu",), heads=2, width=4, rounds=1
    )
    assert [type(table) for table in tables] == [Table] * 3


def test_rows_are_compared_or_say_why_not():
    found = list(rows.tables(shapes=((4, 8),), rounds=1))
    assert found == [rows.MISSING] or all(isinstance(t, Table) for t in found)
