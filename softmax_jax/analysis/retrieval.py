"""How well a ranking finds an identity again: mAP, CMC and mINP, in NumPy.

Similarities are [queries, gallery]; `where` says which entry of the gallery counts for
which query. A query whose identity is not among what counts for it is left out of every
mean; equally similar entries keep their order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Ranked(NamedTuple):
    """The gallery in the order of each query with a match, most similar first."""

    matches: Bool[np.ndarray, "q g"]
    counts: Bool[np.ndarray, "q g"]  # what does not count stands last
    identities: Int[np.ndarray, "q g"]


def ranked(
    similarity: Float[np.ndarray, "q g"],
    query_ids: Int[np.ndarray, " q"],
    gallery_ids: Int[np.ndarray, " g"],
    where: Bool[np.ndarray, "q g"] | None = None,
) -> Ranked:
    """Sorts the gallery for every query, and leaves out queries without a match."""
    counts = np.ones(similarity.shape, bool) if where is None else where
    order = np.argsort(np.where(counts, -similarity, np.inf), axis=1, kind="stable")
    identities = gallery_ids[order]
    counts = np.take_along_axis(counts, order, axis=1)
    matches = counts & (identities == query_ids[:, None])
    kept = matches.any(1)
    return Ranked(matches[kept], counts[kept], identities[kept])


def average_precision(found: Ranked) -> Float[np.ndarray, " kept"]:
    """(1 / R) sum over the ranks r of a match of (matches up to r) / r; R matches."""
    precision = found.matches.cumsum(1) / np.arange(1, found.matches.shape[1] + 1)
    return (precision * found.matches).sum(1) / found.matches.sum(1)


def inverse_negative_penalty(found: Ranked) -> Float[np.ndarray, " kept"]:
    """R / (the rank of the last of the R matches)."""
    last = found.matches.shape[1] - found.matches[:, ::-1].argmax(1)
    return found.matches.sum(1) / last


def first_match(found: Ranked, *, distinct: bool = False) -> Int[np.ndarray, " kept"]:
    """The rank of the first match; `distinct` ranks identities, each by its best."""
    first = found.matches.argmax(1)
    if not distinct:
        return first + 1
    rows = zip(found.identities, first, strict=True)
    return np.array([len(np.unique(row[:place])) + 1 for row, place in rows], int)


def retrieval(
    similarity: Float[np.ndarray, "q g"],
    query_ids: Int[np.ndarray, " q"],
    gallery_ids: Int[np.ndarray, " g"],
    where: Bool[np.ndarray, "q g"] | None = None,
    *,
    ranks: Sequence[int] = (1, 10, 20),
    distinct: bool = False,
) -> dict[str, float]:
    """Means over the queries with a match: `map`, `minp`, and `rank-k`, the CMC at k.

    `distinct` counts identities in the CMC, not images, as SYSU-MM01 has it. All are
    NaN if no query has a match.

    >>> import numpy as np
    >>> similarity, gallery_ids = np.array([[0.9, 0.5, 0.1]]), np.array([3, 7, 7])
    >>> found = retrieval(similarity, np.array([7]), gallery_ids)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'map': 0.583, 'minp': 0.667, 'rank-1': 0.0, 'rank-10': 1.0, 'rank-20': 1.0}
    """
    found = ranked(similarity, query_ids, gallery_ids, where)
    if not len(found.matches):
        return dict.fromkeys(["map", "minp", *(f"rank-{k}" for k in ranks)], np.nan)
    first = first_match(found, distinct=distinct)
    return {
        "map": float(average_precision(found).mean()),
        "minp": float(inverse_negative_penalty(found).mean()),
        **{f"rank-{k}": float((first <= k).mean()) for k in ranks},
    }
