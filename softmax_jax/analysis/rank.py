"""How many dimensions a matrix of log-probabilities has, by five measures.

Of N contexts and V classes, softmax over a head of width d without a bias has log P =
H W^T - (log-sum-exp of each row) 1^T, whose rank is at most d + 1, and d + 2 with a
bias: the softmax bottleneck (arXiv 1711.03953). Any other map of the logits can have
full rank at once, in ever smaller singular values, so that the count of those that are
not 0 says little; the energy beyond d + 1 says how much there is. Everything is float64
and numpy: float32 alone gives a matrix of rank 5 the rank of its size.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from softmax_jax.errors import UserError

Singular = Float[np.ndarray, " m"]
# The part of the largest singular value below which `relative` does not count.
PART = 1e-3


@dataclasses.dataclass(frozen=True)
class RankReport:
    """Five measures of singular values s_1 >= s_2 >= ...; e_i = s_i / sum s.

    Attributes:
      strict: how many are above s_1 max(N, V) eps, the rank in float64.
      relative: how many are above s_1 / 1000.
      tail_energy: sum_{i > bound} s_i^2 / sum s^2, with only rounding if rank <= bound.
      entropy: exp(-sum e_i log e_i), between 1 and their number.
      stable: sum s^2 / s_1^2, the squared Frobenius norm over the spectral one.
    """

    strict: int
    relative: int
    tail_energy: float
    entropy: float
    stable: float


def rank_report(
    matrix: Float[np.ndarray, "n v"], width: int, *, bias: bool = False
) -> RankReport:
    """The measures of log-probabilities [N, V] of a head of this width, with its bound.

    The bound of softmax is width + 1, and one more for a `bias`. There should be as
    many contexts as classes: N bounds the rank too. The logits must have been float64
    already.

    Raises UserError for a matrix that is not float64 or not finite.

    >>> import numpy as np
    >>> rank_report(np.diag([2.0, 1.0, 1.0, 0.0]), width=1)
    ... # doctest: +NORMALIZE_WHITESPACE
    RankReport(strict=3, relative=3, tail_energy=0.16666666666666666,
        entropy=2.82842712474619, stable=1.5)
    """
    if matrix.dtype != np.float64:
        raise UserError(
            f"rank_report: the matrix must be float64, got {matrix.dtype}, whose "
            "rounding alone has full rank"
        )
    if width < 1:
        raise UserError(f"rank_report: width must be at least 1, got {width}")
    if not np.isfinite(matrix).all():
        raise UserError("rank_report: the matrix must be finite")
    s = np.linalg.svd(matrix, compute_uv=False)
    bound = width + 1 + bias
    return RankReport(
        strict=strict_rank(s, max(matrix.shape)),
        relative=relative_rank(s),
        tail_energy=tail_energy(s, bound),
        entropy=entropy_rank(s),
        stable=stable_rank(s),
    )


def strict_rank(s: Singular, size: int) -> int:
    """How many singular values of a matrix with longer side `size` are not rounding."""
    return int((s > s.max(initial=0) * size * np.finfo(s.dtype).eps).sum())


def relative_rank(s: Singular, part: float = PART) -> int:
    """How many singular values are above this part of the largest."""
    return int((s > part * s.max(initial=0)).sum())


def tail_energy(s: Singular, bound: int) -> float:
    """sum_{i > bound} s_i^2 / sum_i s_i^2, and 0 for a matrix of zeros."""
    square = np.square(_scaled(s))
    return float(square[bound:].sum() / max(square.sum(), 1))


def entropy_rank(s: Singular) -> float:
    """exp of the entropy of s / sum s: n for n equal ones, 1 for one alone."""
    e = _scaled(s)
    e = e[e > 0] / max(e.sum(), 1)
    return float(np.exp(-(e * np.log(e)).sum()))


def stable_rank(s: Singular) -> float:
    """sum_i s_i^2 / s_1^2, which small singular values do not move."""
    return float(np.square(_scaled(s)).sum())


def _scaled(s: Singular) -> Singular:
    """s / s_1, in falling order, and zeros for zeros."""
    top = s.max(initial=0)
    return np.sort(s)[::-1] / (top if top > 0 else 1)
