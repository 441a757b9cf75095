"""Do runs depend on the runs before them? Drift, memory of the last run, and how many independent runs that leaves."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats._ranks import inversions, tie_sizes
from sparkray.stats.samples import Estimate, Values, Vector, alike, median, sample

_LEAST_LAG = 4
_LEAST_DRIFT = 4
_EXACT_UP_TO = 33


@dataclass(frozen=True)
class Memory:
    """How runs remember the one before.

    Attributes:
        n: Values.
        lag1: Correlation of a value with the next, about -1 to 1. For independent values it scatters around -1/n with a
            standard deviation of about 1/sqrt(n).
        effective_n: As many independent values would give a mean as certain; never below 1 nor above n.
    """

    n: int
    lag1: float
    effective_n: float


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

    r = sum (x_t - m)(x_{t+1} - m) / sum (x_t - m)^2, and n (1 - r) / (1 + r), which is exact for a first-order
    autoregression in long series: Box, Jenkins and Reinsel (2008), "Time Series Analysis", sections 2.1 and 3.2; Bayley and
    Hammersley (1946). A negative r is not taken for more runs than there are.

    Args:
        values: In the order in which they were measured, at least 4, not all alike.
    """
    found = sample(values, _LEAST_LAG)
    if isinstance(found, NotEstimable):
        return found
    if alike(found):
        return NotEstimable("all values are alike: nothing to correlate")
    centred = found - np.mean(found)
    lag1 = float(centred[:-1] @ centred[1:] / (centred @ centred))
    n = len(found)
    return Memory(n, lag1, min(float(n), max(1.0, n * (1 - lag1) / (1 + lag1))))


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
    steps, rises = np.subtract.outer(places, places), np.subtract.outer(values, values)
    forward = steps > 0  # each pair of different places once
    steps, rises = steps[forward], rises[forward]
    ties = tie_sizes(places), tie_sizes(values)
    slope, low, high = (bound / middle * 100 for bound in _theil_sen(rises / steps, _score_variance(n, ties), level))
    p = _kendall_p(int(np.sum(np.sign(rises))), n, ties)
    return Drift(n, Estimate(slope, min(low, high), max(low, high)), p)


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
        return min(1.0, 2 * float(inversions(n)[(pairs - abs(score)) // 2]))
    single = [float(np.sum(t * (t - 1))) for t in ties]
    double = [float(np.sum(t * (t - 1) * (t - 2))) for t in ties]
    variance = _score_variance(n, ties) + single[0] * single[1] / (4 * pairs)
    variance += double[0] * double[1] / (18 * pairs * (n - 2))
    return 2 * float(special.ndtr(-abs(score) / math.sqrt(variance)))
