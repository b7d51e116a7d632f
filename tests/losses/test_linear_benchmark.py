"""The benchmark runs, on sizes that measure nothing."""

import pytest
from rich.table import Table

from benchmarks import linear_cross_entropy as benchmark


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Table | str]:
    monkeypatch.setattr(benchmark, "LINKS", ("softmax",))
    fits, large = ((8, 6, 4),), (64, 2048, 4)
    return list(benchmark.tables(fits=fits, large=large, rounds=1))


def test_times_and_memory_are_tables(tables: list[Table | str]) -> None:
    race, memory = (table for table in tables if isinstance(table, Table))
    names = list(race.columns[0].cells)
    assert names[-1] == "sj softmax" and {"dense", "optax"} <= set(names)
    needed = dict(zip(*(column.cells for column in memory.columns), strict=True))
    assert set(needed) == {*names, f"sj MoS, K = {benchmark.COMPONENTS}"}
    assert float(needed["dense"]) >= 4 * 64 * 2048 / 2**20
