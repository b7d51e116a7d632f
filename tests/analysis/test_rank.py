"""The rank law of softmax holds exactly, other maps escape it, and measures measure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softmax_jax.analysis.rank import (
    entropy_rank,
    rank_report,
    relative_rank,
    stable_rank,
    strict_rank,
    tail_energy,
)
from softmax_jax.errors import UserError

pytestmark = pytest.mark.core

widths = st.integers(1, 6)
extra = st.integers(3, 20)
seeds = st.integers(0, 2**16)
scales = st.floats(0.1, 20)


def logits(width: int, rows: int, columns: int, seed: int, scale: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hidden, weight = rng.normal(size=(rows, width)), rng.normal(size=(columns, width))
    return scale * hidden @ weight.T


def log_softmax(u: np.ndarray) -> np.ndarray:
    u = u - u.max(1, keepdims=True)
    return u - np.log(np.exp(u).sum(1, keepdims=True))


def sigsoftmax(z: np.ndarray) -> np.ndarray:
    return log_softmax(2 * z - np.logaddexp(0, z))


@given(widths, extra, extra, seeds, scales, st.booleans())
def test_the_rank_of_softmax_is_at_most_its_width_and_one(
    width: int, rows: int, columns: int, seed: int, scale: float, bias: bool
) -> None:
    """And one more with a bias; nothing is left beyond."""
    z = logits(width, width + rows, width + columns, seed, scale)
    if bias:
        z = z + np.random.default_rng(seed + 1).normal(size=z.shape[1])
    report = rank_report(log_softmax(z), width, bias=bias)
    assert report.strict <= width + 1 + bias
    assert report.tail_energy < 1e-28


@given(widths, seeds)
def test_sigsoftmax_escapes_it(width: int, seed: int) -> None:
    z = logits(width, width + 12, width + 12, seed, 2.0)
    report = rank_report(sigsoftmax(z), width)
    assert report.strict > width + 1
    assert report.tail_energy > 1e-12


@given(widths, seeds)
def test_a_row_shift_adds_one_dimension_at_most(width: int, seed: int) -> None:
    """The bound is that of any row shift, and reached."""
    z = logits(width, 20, 20, seed, 1.0)
    assert strict_rank(np.linalg.svd(z, compute_uv=False), 20) == width
    assert rank_report(log_softmax(z), width).strict == width + 1


def test_a_bias_needs_its_own_dimension() -> None:
    bias = np.random.default_rng(1).normal(size=20)
    matrix = log_softmax(logits(3, 30, 20, 0, 1.0) + bias)
    assert rank_report(matrix, 3).strict == 5
    assert rank_report(matrix, 3).tail_energy > 1e-6
    assert rank_report(matrix, 3, bias=True).tail_energy < 1e-28


def test_float32_gives_a_rank_that_is_not_there() -> None:
    matrix = log_softmax(logits(3, 40, 40, 0, 1.0))
    rounded = matrix.astype(np.float32).astype(np.float64)
    assert rank_report(matrix, 3).strict == 4
    assert rank_report(rounded, 3).strict == 40
    assert rank_report(rounded, 3).relative <= 4


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), scales)
def test_measures_of_singular_values(values: list[float], scale: float) -> None:
    """Invariant under scale, ordered, and between 1 and their number."""
    s = np.array(values)
    n = len(values)
    for measure in (entropy_rank, stable_rank, relative_rank):
        assert measure(scale * s) == pytest.approx(measure(s))
        assert 1 - 1e-9 <= measure(s) <= n + 1e-9
        assert measure(s[::-1]) == pytest.approx(measure(s))
    square = np.sort(s)[::-1] ** 2
    assert tail_energy(s, 2) == pytest.approx(square[2:].sum() / square.sum())
    assert tail_energy(s, n) == 0


def test_known_values() -> None:
    equal, one = np.ones(5), np.array([3.0, 0, 0, 0])
    assert entropy_rank(equal) == pytest.approx(5) and entropy_rank(one) == 1
    assert stable_rank(equal) == pytest.approx(5) and stable_rank(one) == 1
    assert relative_rank(np.array([1.0, 2e-3, 1e-4])) == 2
    assert strict_rank(np.array([1.0, 1e-10, 1e-15]), 100) == 2
    zeros = rank_report(np.zeros((3, 4)), 1)
    assert (zeros.strict, zeros.tail_energy) == (0, 0)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="must be float64, got float32"):
        rank_report(np.zeros((2, 2), np.float32), 1)
    with pytest.raises(UserError, match="width must be at least 1"):
        rank_report(np.zeros((2, 2)), 0)
    with pytest.raises(UserError, match="must be finite"):
        rank_report(np.full((2, 2), -np.inf), 1)
