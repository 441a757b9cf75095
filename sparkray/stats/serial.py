"""Do runs depend on the runs before them? Drift, memory of the last run, and the effective sample size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from sparkray.stats import NotEstimable
from sparkray.stats.reasons import coded
from sparkray.stats.samples import Estimate, Values, Vector, alike, median, sample

_LEAST_LAG = 5
_MOST_LAG = 0.95
LEAST_WORTH = 10
TOO_FEW = coded("effective_few", least=LEAST_WORTH)
_LEAST_DRIFT = 4
# Numbers of values for which p of Kendall's tau is exact, where none are alike.
_LEAST_EXACT, _MOST_EXACT = 2, 33
# Above as many values the matrix of their signs is no faster than SciPy.
_MOST_SIGNS = 64


@dataclass(frozen=True)
class Memory:
    """How runs remember the one before.

    Attributes:
        n: Values.
        lag1: Correlation of a value with the next, about -1 to 1. For independent values it scatters around -1/n with a
            standard deviation of about 1/sqrt(n).
        effective_n: Number of independent values whose mean is equally precise (`effective_n`);
            None below 10 values, where the estimate is mostly noise.
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
    checked = sample(values, _LEAST_LAG)
    if isinstance(checked, NotEstimable):
        return checked
    if alike(checked):
        return NotEstimable("all_alike")
    centred = checked - np.mean(checked)
    centred = centred / np.max(np.abs(centred))
    lag1 = float(centred[:-1] @ centred[1:] / (centred @ centred))
    return Memory(len(checked), lag1, effective_n(len(checked), lag1) if len(checked) >= LEAST_WORTH else None)


def effective_n(n: int, lag1: float) -> float:
    """Number of independent values whose mean is equally precise: n (1 - r) / (1 + r), from 1 to n.

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


def pooled_lag1_p(memories: Sequence[Memory]) -> tuple[float, float] | None:
    """Mean r over sequences, and the one-sided p that it is so high by chance; None without a sequence."""
    if not memories:
        return None
    moments = [lag1_if_independent(one.n) for one in memories]
    total = sum(one.lag1 - mean for one, (mean, _) in zip(memories, moments, strict=True))
    z = total / math.sqrt(sum(variance for _, variance in moments))
    return sum(one.lag1 for one in memories) / len(memories), float(scipy.special.ndtr(-z))


def drift(values: Values, order: Values | None = None, level: float = 0.95) -> Drift | NotEstimable:
    """The slope over the order of runs, which one wild run does not move, and whether there is one.

    Slope: the median of the slopes between all pairs, with its interval: Theil (1950), Sen (1968), J. Am. Statist. Assoc.
    63. p: Kendall's (1938) tau between order and value, also called the test of Mann and Kendall; exact up to 33 values
    without ties, else normal with correction for ties.

    Args:
        values: Shape (n,), at least 4, not all alike, their median not 0.
        order: When each was measured, e.g. its position in the study; 0, 1, 2 ... by default. In any order itself.
        level: Confidence of the interval.
    """
    checked = sample(values, _LEAST_DRIFT)
    places = np.arange(len(values), dtype=np.float64) if order is None else sample(order, _LEAST_DRIFT)
    if isinstance(checked, NotEstimable):
        return checked
    if isinstance(places, NotEstimable):
        return places.at("order")
    if len(places) != len(checked):
        return NotEstimable.of("unequal_places", n=len(checked), places=len(places))
    if alike(checked) or alike(places):
        return NotEstimable("all_alike") if alike(checked) else NotEstimable("all_alike").at("order")
    middle = median(checked)
    if middle == 0:
        return NotEstimable("median_0")
    slope, low, high = (bound / middle * 100 for bound in _theil_sen(places, checked, level))
    return Drift(len(checked), Estimate(slope, min(low, high), max(low, high)), _kendall_p(places, checked))


def trend_p(values: Vector) -> float:
    """Two-sided p of Kendall's tau between order and value, of at least 3 values; 1 where all are alike."""
    return 1.0 if alike(values) else _kendall_p(np.arange(len(values), dtype=np.float64), values)


def may_trend(values: Vector, level: float) -> bool:
    """Whether `trend_p` can be below a level of at most 1 %: a tenth of its time, for thousands of series without a trend.

    Kendall's S with its variance under ties, as a normal deviate. Exact tails are thinner than the normal one, the more so
    the smaller the level: the normal p may be 10 level^0.6.
    """
    n = len(values)
    if n > _MOST_SIGNS:
        return True
    signs = np.sign(np.subtract.outer(values, values))
    s = float(np.tril(signs).sum())
    ties = (signs == 0).sum(axis=0)  # of each value, itself included
    variance = (n * (n - 1) * (2 * n + 5) - float(((ties - 1) * (2 * ties + 5)).sum())) / 18
    return variance > 0 and 2 * float(scipy.special.ndtr(-abs(s) / math.sqrt(variance))) <= 10 * level**0.6


def _theil_sen(places: Vector, values: Vector, level: float) -> tuple[float, float, float]:
    """The median slope and the ends of its interval: `scipy.stats.theilslopes`, whose checks take ten times as long."""
    across, up = np.subtract.outer(places, places), np.subtract.outer(values, values)
    slopes = np.sort(up[across > 0] / across[across > 0])
    n = len(values)
    variance = (n * (n - 1) * (2 * n + 5) - _tied(places) - _tied(values)) / 18
    if variance < 0:
        return float(np.median(slopes)), math.nan, math.nan
    reach = float(scipy.special.ndtri((1 - level) / 2)) * math.sqrt(variance)
    low = max(round((len(slopes) + reach) / 2) - 1, 0)
    high = min(round((len(slopes) - reach) / 2), len(slopes) - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def _tied(values: Vector) -> int:
    """What ties take from 18 times the variance of Kendall's S: the sum of t(t - 1)(2t + 5) over groups of t."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) * (2 * counts + 5)).sum())


def _kendall_p(places: Vector, values: Vector) -> float:
    """The two-sided p of `scipy.stats.kendalltau`: without ties exact up to 33 values, from a distribution that is kept."""
    n = len(values)
    if n > _MOST_EXACT or n <= _LEAST_EXACT or len(np.unique(values)) < n or len(np.unique(places)) < n:
        return float(scipy.stats.kendalltau(places, values).pvalue)
    in_order = values[np.argsort(places)]
    discordant = int(np.tril(np.subtract.outer(in_order, in_order) < 0, -1).sum())
    fewer = min(discordant, n * (n - 1) // 2 - discordant)
    if 4 * fewer == n * (n - 1):
        return 1.0
    return min(1.0, 2.0 * float(np.sum(_orders(n)[: fewer + 1])) / math.factorial(n))


@lru_cache(maxsize=_MOST_EXACT)
def _orders(n: int) -> Vector:
    """How many orders of n values have 0, 1, 2 ... discordant pairs (Kendall 1970, "Rank Correlation Methods")."""
    counts = np.zeros(n * (n - 1) // 2 + 1)
    counts[:2] = 1.0
    for size in range(3, n + 1):
        counts = np.cumsum(counts)
        counts[size:] -= counts[:-size].copy()
    return counts
