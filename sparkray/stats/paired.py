"""The paired ratio of two arms, and the verdict on it against a margin that was fixed before.

A ratio is the exponential of the mean of log ratios inside blocks; its interval is Student's t on the log scale, so it is
the same whichever arm is called the first. The verdict follows the two one-sided tests of Schuirmann (1987), with the
margin on the log scale: `equivalent` if the 90 % interval lies inside [1/(1+m), 1+m], `different` if the 95 % interval
lies wholly outside it, else `undecided`. Whether the 95 % interval excludes 1 is reported separately: an effect can be real
and negligible, and an interval that holds 1 shows no equality. The power of this verdict exists in no library.

Ratios that are all alike have no noise to build an interval from: one without width would decide anything after two pairs.
They are not estimable, however many there are.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparkray.stats import NotEstimable, noncentral, special
from sparkray.stats.reasons import coded
from sparkray.stats.samples import Values, Vector, alike, from_log, least_n, ratio_interval, sd_of, t_p

VerdictWord = Literal["equivalent", "different", "undecided"]
_LEAST_PAIRS = 2
# Reasons, as codes.
NOT_POSITIVE, NO_SPREAD = "not_positive", "no_spread"
# A standard error below this share of the margin is none.
_NO_NOISE = 1e-9
# The quadrature's own error lies below what is missing from 1.
_CERTAIN = 1 - 1e-12


@dataclass(frozen=True)
class Ratio:
    """A paired ratio b/a. Intervals are (low, high); `sd_log` is the sd of the log ratios."""

    n: int
    ratio: float
    ci95: tuple[float, float]
    ci90: tuple[float, float]
    sd_log: float

    @property
    def excludes_one(self) -> bool:
        """Whether the 95 % interval excludes 1."""
        return not self.ci95[0] <= 1.0 <= self.ci95[1]

    @property
    def p(self) -> float:
        """Two-sided p of a ratio of 1: Student's (1908) paired t test on the logarithms; 1 or 0 where nothing varies."""
        return t_p(math.log(self.ratio), self.sd_log / math.sqrt(self.n), self.n - 1)


@dataclass(frozen=True)
class Decision:
    """A verdict against a relative margin. `pairs_needed` would decide if the true ratio is 1; None when decided."""

    verdict: VerdictWord
    margin: float
    pairs_needed: int | None


def paired_ratio(a: Values, b: Values) -> Ratio | NotEstimable:
    """The ratio b/a over pairs.

    Args:
        a: Values of the reference arm, one a block, above 0.
        b: Values of the other arm in the same blocks.

    Returns:
        The ratio with its intervals, or why there is none (arms of unequal length, fewer than 2 pairs, a value not above 0,
        ratios that are all alike).
    """
    if len(a) != len(b):
        return NotEstimable.of("unequal", a=len(a), b=len(b))
    if len(a) < _LEAST_PAIRS:
        return too_few_pairs(len(a))
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    both = np.concatenate([first, second])
    if not (np.isfinite(both) & (both > 0)).all():
        return NotEstimable(NOT_POSITIVE)
    return estimated(np.log(second) - np.log(first), both)


def too_few_pairs(n: int) -> NotEstimable:
    """The reason "too few pairs for an interval"."""
    return NotEstimable.of("few_pairs", n=n, least=_LEAST_PAIRS)


def estimated(logs: Vector, values: Values) -> Ratio | NotEstimable:
    """The ratio from its log ratios, shape (n,), finite, at least 2; or that they are alike to the precision of a double.

    Args:
        logs: Log ratios.
        values: What they were computed from, above 0: their size says what rounding alone may do.
    """
    return NotEstimable(NO_SPREAD) if without_spread(logs, values) else ratio_of_logs(logs)


def without_spread(logs: Vector, values: Values) -> bool:
    """Whether log ratios are alike to the precision of a double; `values` as in `estimated`."""
    return alike(logs, scale=log_scale(values))


def log_scale(values: Values) -> float:
    """The size of the numbers that log ratios of these values, above 0, are computed from: their rounding is no spread."""
    return max(1.0, float(np.abs(np.log(values)).max()))


def ratio_of_logs(logs: Vector) -> Ratio:
    """The ratio from its log ratios, shape (n,), finite, at least 2; whether they vary is not checked (`estimated`)."""
    n, mean = len(logs), float(logs.mean())
    sd = sd_of(logs, mean)
    ci95, ci90 = (ratio_interval(mean, sd / math.sqrt(n), n - 1, level) for level in (0.95, 0.90))
    return Ratio(n, from_log(mean), ci95, ci90, sd)


def verdict_of(ci90: tuple[float, float], ci95: tuple[float, float], margin: float) -> VerdictWord:
    """The verdict of two intervals of a ratio against a relative margin above 0."""
    low, high = 1 / (1 + margin), 1 + margin
    if low <= ci90[0] and ci90[1] <= high:
        return "equivalent"
    return "different" if ci95[1] < low or ci95[0] > high else "undecided"


def decide(ratio: Ratio, margin: float) -> Decision:
    """The verdict on a ratio against a relative margin above 0."""
    verdict = verdict_of(ratio.ci90, ratio.ci95, margin)
    return Decision(verdict, margin, pairs_needed(ratio.sd_log, margin) if verdict == "undecided" else None)


def tost_power(n: int, sd_log: float, margin: float, alpha: float = 0.05, *, ratio: float = 1.0) -> float:
    """Power of the two one-sided tests, exact for normal log ratios (Owen 1965; Phillips 1990).

    Given the estimated deviation, the mean must fall into what the margin leaves; that chance is averaged over the
    distribution of the deviation.

    Args:
        n: Pairs; below 2 there is no test and no power.
        sd_log: The true standard deviation of the log ratios; sqrt(2) times the CV of a run where blocks do nothing.
        margin: Relative, above 0.
        alpha: Level of each of the two tests.
        ratio: The true ratio.
    """
    width, shift = math.log1p(margin), math.log(ratio)
    if n < _LEAST_PAIRS:
        return 0.0
    error = sd_log / math.sqrt(n)
    if error < _NO_NOISE * width:
        return float(abs(shift) < width)
    critical = float(special.stdtrit(n - 1, 1 - alpha))
    upper, lower = (width - shift) / error, (-width - shift) / error

    def inside(s: Vector) -> Vector:
        return np.asarray(special.ndtr(upper - critical * s) - special.ndtr(lower + critical * s))

    power = noncentral.over_deviation(inside, n - 1, most=width / error / critical)
    return 1.0 if power > _CERTAIN else max(0.0, power)


def pairs_needed(sd_log: float, margin: float, power: float = 0.80, *, alpha: float = 0.05) -> int | None:
    """The least number of pairs with that power to call arms equivalent when they are; None beyond 100,000."""
    return least_n(lambda n: tost_power(n, sd_log, margin, alpha) >= power)


def outlook(needed: int | None, n: int, *, at_most: bool = False) -> str:
    """How many pairs would decide an undecided comparison of n pairs, as a code of `reasons`.

    Args:
        needed: Pairs that would decide if the true ratio is 1; None beyond 100,000.
        n: Pairs that are there. Where they are enough already, the ratio lies near the edge of the margin.
        at_most: Whether fewer than `needed` may do.
    """
    if needed is None:
        return "pairs_beyond"
    return coded(f"{'at_most' if at_most else 'pairs'}_{'near_edge' if needed <= n else 'decide'}", needed=needed)
