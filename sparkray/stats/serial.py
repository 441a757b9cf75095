"""Do runs depend on the runs before them? Drift, memory of the last run, and how many independent runs that leaves.

Kendall's test and the slope of Theil and Sen are those of `scipy.stats.kendalltau` and `theilslopes`, written out here
because SciPy takes 4 ms a series, and a study has 2,000 of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Estimate, Values, Vector, alike, median, sample

_LEAST_LAG = 5
_MOST_LAG = 0.95
LEAST_WORTH = 10
TOO_FEW = f"an effective number needs at least {LEAST_WORTH} values: of fewer, lag 1 is too uncertain"
_LEAST_DRIFT = 4
_EXACT_UP_TO = 33


@dataclass(frozen=True)
class Memory:
    """How runs remember the one before.

    Attributes:
        n: Values.
        lag1: Correlation of a value with the next, about -1 to 1. For independent values it scatters around -1/n with a
            standard deviation of about 1/sqrt(n).
        effective_n: As many independent values would give a mean as certain (`effective_n`);
            None below 10 values, of which a third would seem to be worth one.
    """

    n: int
    lag1: float
    effective_n: float | None


@dataclass(frozen=True)
class Drift:
    """A trend over the runs.

    Attributes:
        n: Values.
        pct_per_run: Slope in per cent of the median per step of `order`, with its interval.
        p: Of no trend.
    """

    n: int
    pct_per_run: Estimate
    p: float


def memory(values: Values) -> Memory | NotEstimable:
    """Lag-1 autocorrelation and effective sample size.

    r = sum (x_t - m)(x_{t+1} - m) / sum (x_t - m)^2: Box, Jenkins and Reinsel (2008), "Time Series Analysis", section 2.1.

    Args:
        values: In the order in which they were measured, at least 5, not all alike.
    """
    found = sample(values, _LEAST_LAG)
    if isinstance(found, NotEstimable):
        return found
    if alike(found):
        return NotEstimable("all values are alike: nothing to correlate")
    centred = found - np.mean(found)
    centred = centred / np.max(np.abs(centred))
    lag1 = float(centred[:-1] @ centred[1:] / (centred @ centred))
    worth = effective_n(len(found), lag1) if len(found) >= LEAST_WORTH else None
    return Memory(len(found), lag1, worth)


def effective_n(n: int, lag1: float) -> float:
    """As many independent values would give a mean as certain: n (1 - r) / (1 + r), from 1 to n.

    That is exact for a first-order autoregression in long series (Bayley and Hammersley 1946). The sample's own r is too
    low by (1 + 4 r) / n on average (Marriott and Pope 1954, Biometrika 41; Kendall 1954, ibid.), and with it n would be
    overstated: of 10 values with r = 0.3, worth 5.8, it makes 7.6 on average, and with the bias taken off 5.5. A
    negative r is noise more often than not, and is never taken for more runs than there are.

    Args:
        n: Values, at least 5.
        lag1: Their lag-1 autocorrelation, as computed from them.
    """
    r = min(_MOST_LAG, max(0.0, (n * lag1 + 1) / (n - 4)))
    return max(1.0, n * (1 - r) / (1 + r))


def lag1_if_independent(n: int) -> tuple[float, float]:
    """Mean and variance of r over n independent normal values (Moran 1948, Biometrika 35)."""
    return -1 / n, (n - 2) ** 2 / (n**2 * (n - 1))


def pooled_lag1_p(found: Sequence[Memory]) -> tuple[float, float] | None:
    """Mean r over sequences, and the one-sided p that it is so high by chance; None without a sequence."""
    if not found:
        return None
    expected = [lag1_if_independent(one.n) for one in found]
    total = sum(one.lag1 - mean for one, (mean, _) in zip(found, expected, strict=True))
    z = total / math.sqrt(sum(variance for _, variance in expected))
    return sum(one.lag1 for one in found) / len(found), float(special.ndtr(-z))


def drift(values: Values, order: Values | None = None, level: float = 0.95) -> Drift | NotEstimable:
    """The slope over the order of runs, which one wild run does not move, and whether there is one.

    Slope: the median of the slopes between all pairs, with its interval: Theil (1950), Sen (1968), J. Am. Statist. Assoc.
    63. p: Kendall's (1938) tau between order and value, also called the test of Mann and Kendall; exact up to 33 values
    without ties, else normal with correction for ties (Kendall 1970, "Rank Correlation Methods", chapter 4).

    Args:
        values: Shape (n,), at least 4, not all alike, their median not 0.
        order: When each was measured, e.g. its position in the study; 0, 1, 2 ... by default. In any order itself.
        level: Confidence of the interval.
    """
    found = sample(values, _LEAST_DRIFT)
    if isinstance(found, NotEstimable):
        return found
    places = sample(np.arange(len(found), dtype=np.float64) if order is None else order, _LEAST_DRIFT)
    if isinstance(places, NotEstimable):
        return NotEstimable(f"order: {places.reason}")
    if len(places) != len(found):
        return NotEstimable(f"{len(found)} values at {len(places)} places in the order")
    if alike(found) or alike(places):
        return NotEstimable(
            f"all {'values' if alike(found) else 'places in the order'} are alike: no trend to look for"
        )
    return _trend(found, places, level)


def _trend(values: Vector, places: Vector, level: float) -> Drift | NotEstimable:
    middle = median(values)
    if middle == 0:
        return NotEstimable("the median is 0: no slope in per cent of it")
    n = len(values)
    steps, rises = _pairs(values, places)
    ties = _tie_sizes(places), _tie_sizes(values)
    slope, low, high = (bound / middle * 100 for bound in _theil_sen(rises / steps, _score_variance(n, ties), level))
    p = _kendall_p(int(np.sum(np.sign(rises))), n, ties)
    return Drift(n, Estimate(slope, min(low, high), max(low, high)), p)


def trend_p(values: Vector) -> float:
    """Two-sided p of Kendall's tau between order and value, of at least 3 values; 1 where all are alike."""
    if alike(values):
        return 1.0
    places = np.arange(len(values), dtype=np.float64)
    rises = _pairs(values, places)[1]
    return _kendall_p(int(np.sum(np.sign(rises))), len(values), (_tie_sizes(places), _tie_sizes(values)))


def _pairs(values: Vector, places: Vector) -> tuple[Vector, Vector]:
    """How far apart in place and value: each pair of different places once, in ascending order of place."""
    steps, rises = np.subtract.outer(places, places), np.subtract.outer(values, values)
    forward = steps > 0
    return steps[forward], rises[forward]


def _tie_sizes(values: Vector) -> Vector:
    """How often each value of a sample occurs that occurs more than once."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return np.asarray(counts[counts > 1])


@lru_cache(maxsize=64)
def _inversions(n: int) -> Vector:
    """P(at most k inversions) in a random order of n values, shape (n (n - 1) / 2 + 1,).

    The j-th value comes before 0 to j - 1 of those that are smaller, each with the same chance: Kendall (1938), "A new
    measure of rank correlation", Biometrika 30.
    """
    chances = np.ones(1)
    for j in range(2, n + 1):
        chances = np.convolve(chances, np.full(j, 1 / j))
    return np.asarray(np.cumsum(chances))


def _theil_sen(slopes: Vector, variance: float, level: float) -> tuple[float, float, float]:
    """The median of the slopes between all pairs, and the ends of its interval, at the ranks of Sen (1968)."""
    ordered, m = np.sort(slopes), len(slopes)
    away = -float(special.ndtri((1 - level) / 2)) * math.sqrt(variance)
    low, high = max(round((m - away) / 2) - 1, 0), min(round((m + away) / 2), m - 1)
    return float(ordered[(m - 1) // 2] + ordered[m // 2]) / 2, float(ordered[low]), float(ordered[high])


def _score_variance(n: int, ties: tuple[Vector, Vector]) -> float:
    """The variance of Kendall's score without a trend, as Sen (1968) has it: ties in both orders taken off."""
    return (n * (n - 1) * (2 * n + 5) - sum(float(np.sum(t * (t - 1) * (2 * t + 5))) for t in ties)) / 18


def _kendall_p(score: int, n: int, ties: tuple[Vector, Vector]) -> float:
    """The two-sided p-value of Kendall's score, pairs in the order of their places less pairs against it."""
    pairs = n * (n - 1) // 2
    if n <= _EXACT_UP_TO and not any(map(len, ties)):
        return min(1.0, 2 * float(_inversions(n)[(pairs - abs(score)) // 2]))
    single = [float(np.sum(t * (t - 1))) for t in ties]
    double = [float(np.sum(t * (t - 1) * (t - 2))) for t in ties]
    variance = _score_variance(n, ties) + single[0] * single[1] / (4 * pairs)
    variance += double[0] * double[1] / (18 * pairs * (n - 2))
    return 2 * float(special.ndtr(-abs(score) / math.sqrt(variance)))
