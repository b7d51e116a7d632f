"""The metrics by hand, and against their definitions in loops."""

import doctest

import numpy as np
import pytest

from softmax_jax.analysis import retrieval as module
from softmax_jax.analysis.retrieval import retrieval


def test_by_hand() -> None:
    """Matches at ranks 1 and 3 of 4, and at rank 2."""
    similarity = np.array([[0.9, 0.8, 0.7, 0.1], [0.2, 0.9, 0.1, 0.3]])
    found = retrieval(
        similarity, np.array([5, 6]), np.array([5, 7, 5, 6]), ranks=(1, 2)
    )
    assert found["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert found["minp"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (found["rank-1"], found["rank-2"]) == (0.5, 1.0)


def by_loops(similarity, query_ids, gallery_ids, where, distinct) -> list[float]:
    """mAP, mINP and the share of queries with a match in the first 2."""
    found = []
    for row, query, counts in zip(similarity, query_ids, where, strict=True):
        order = [i for i in sorted(range(len(row)), key=lambda i: -row[i]) if counts[i]]
        if query not in gallery_ids[order]:
            continue
        hits = [r for r, i in enumerate(order, start=1) if gallery_ids[i] == query]
        precision = [n / r for n, r in enumerate(hits, start=1)]
        names = gallery_ids[order]
        if distinct:
            names = np.array(list(dict.fromkeys(names.tolist())))
        cumulative = query in names[:2]
        found.append((np.mean(precision), len(hits) / hits[-1], cumulative))
    return np.array(found).mean(0).tolist()


@pytest.mark.parametrize("distinct", [False, True])
def test_against_loops(distinct: bool) -> None:
    rng = np.random.default_rng(0)
    given = (
        rng.normal(size=(20, 15)),
        rng.integers(6, size=20),
        rng.integers(6, size=15),
    )
    where = rng.random((20, 15)) < 0.4
    found = retrieval(*given, where, ranks=(2,), distinct=distinct)
    np.testing.assert_allclose(
        list(found.values()), by_loops(*given, where, distinct), rtol=1e-12
    )
    other = retrieval(*given, where, ranks=(2,), distinct=not distinct)
    assert other["rank-2"] != found["rank-2"] and other["map"] == found["map"]


def test_what_does_not_count_changes_nothing() -> None:
    """NaN where an entry does not count; a query without a match is left out."""
    similarity = np.array([[np.nan, 0.5, 0.7], [0.1, np.nan, 0.2]])
    where = np.array([[False, True, True], [True, False, True]])
    found = retrieval(
        similarity, np.array([1, 2]), np.array([1, 2, 1]), where, ranks=(1,)
    )
    assert found == {"map": 1.0, "minp": 1.0, "rank-1": 1.0}
    nothing = retrieval(similarity, np.array([8, 9]), np.array([1, 2, 1]), where)
    assert np.isnan(list(nothing.values())).all()


def test_the_example_runs() -> None:
    assert doctest.testmod(module).failed == 0
