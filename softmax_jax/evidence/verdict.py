"""From paired seeds to a verdict: a 95 % t-interval, or an exact comparison."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from softmax_jax.evidence.claims import Claim


@dataclass(frozen=True)
class Interval:
    """mean ± half_width, with half_width = t(n - 1) s / sqrt(n)."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


@dataclass(frozen=True)
class Verdict:
    """One word, the effect in the claimed direction, and the reason.

    The effect of an exact claim is its worst value, an interval of no width.
    """

    word: str
    interval: Interval | None
    reason: str


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The two-sided Student interval of the mean; infinitely wide for one value."""
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Interval(mean, math.inf, n)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(n), n)


def judge(
    claim: Claim, treatment: Mapping[int, float], control: Mapping[int, float] | None
) -> Verdict:
    """Judges a claim on the values of its metric by seed; unpaired seeds are left out.

    Supported: the whole interval lies above the margin. Contradicted: it lies below,
    and the run could have seen an effect as small as the paper's; a control of our own
    claims nothing beyond its margin. An exact claim holds if every single value lies
    above the margin.
    """
    sign = 1.0 if claim.direction == "higher" else -1.0
    if control is None:
        effects = [sign * value for value in treatment.values()]
        margin = sign * claim.margin
    else:
        seeds = sorted(treatment.keys() & control.keys())
        effects = [sign * (treatment[seed] - control[seed]) for seed in seeds]
        margin = claim.margin
    if claim.exact:
        return _exact(effects, margin)
    if len(effects) < 2:
        return Verdict("inconclusive", None, "needs at least two seeds")
    interval = t_interval(effects)
    return Verdict(*_compare(claim, interval, margin))


def _exact(effects: Sequence[float], margin: float) -> Verdict:
    if not effects:
        return Verdict("inconclusive", None, "was not run")
    worst = min(effects)
    word = "holds" if worst > margin else "does not hold"
    return Verdict(word, Interval(worst, 0.0, len(effects)), "exact")


def _compare(
    claim: Claim, interval: Interval, margin: float
) -> tuple[str, Interval, str]:
    if interval.low > margin:
        word = "reproduced" if claim.setting == "paper" else "supported"
        return word, interval, f"the whole interval is above {margin:g}"
    if not interval.high < margin:
        return "inconclusive", interval, f"the interval holds {margin:g}"
    if not claim.source:
        return "contradicted", interval, f"the whole interval is below {margin:g}"
    if claim.paper_effect is None:
        reason = "below the margin, but the paper's effect is not known to us"
    elif interval.half_width < claim.paper_effect:
        reason = f"below {margin:g}, and an effect of {claim.paper_effect:g} would show"
        return "contradicted", interval, reason
    else:
        reason = f"too few seeds to see the paper's effect of {claim.paper_effect:g}"
    return "inconclusive", interval, reason
