"""Do runs depend on the runs before them? Drift, memory of the last run, and the effective sample size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import scipy
from numpy.typing import NDArray

from sparkray.stats import NotEstimable, special
from sparkray.stats.reasons import coded
from sparkray.stats.samples import Estimate, Values, Vector, alike, median, sample, together

_LEAST_LAG = 5
_MOST_LAG = 0.95
LEAST_WORTH = 10
TOO_FEW = coded("effective_few", least=LEAST_WORTH)
_LEAST_DRIFT = 4
# Up to so many values, none alike, p of Kendall's tau is exact.
_MOST_EXACT = 33
# Above as many values all pairs of them take too much memory.
_MOST_PAIRED = 1000
# Differences of pairs of values that are in memory at once, twice over.
_MOST_PAIRS = 1_000_000


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
    return memories([values])[0]


def memories(series: Sequence[Values]) -> list[Memory | NotEstimable]:
    """`memory` of many series at once."""

    def checked(values: Values) -> tuple[Vector] | NotEstimable:
        vector = sample(values, _LEAST_LAG)
        if isinstance(vector, NotEstimable):
            return vector
        return NotEstimable("all_alike") if alike(vector) else (vector,)

    return together([checked(values) for values in series], _memories)


def _memories(rows: Vector) -> list[Memory]:
    n, centred = rows.shape[1], rows - np.mean(rows, axis=1, keepdims=True)
    centred = centred / np.max(np.abs(centred), axis=1, keepdims=True)
    lag1 = np.sum(centred[:, :-1] * centred[:, 1:], axis=1) / np.sum(centred * centred, axis=1)
    return [Memory(n, r, effective_n(n, r) if n >= LEAST_WORTH else None) for r in lag1.tolist()]


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
    return sum(one.lag1 for one in memories) / len(memories), float(special.ndtr(-z))


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
    return drifts([(values, order)], level)[0]


def drifts(series: Sequence[tuple[Values, Values | None]], level: float = 0.95) -> list[Drift | NotEstimable]:
    """`drift` of many series, each with its order, at once."""
    return together([_series(values, order) for values, order in series], partial(_drifts, level=level))


def _series(values: Values, order: Values | None) -> tuple[Vector, Vector] | NotEstimable:
    """Values in order, and their places; or why there is no trend of them."""
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
    if median(checked) == 0:
        return NotEstimable("median_0")
    return (checked, places) if order is None else (checked[np.argsort(places)], np.sort(places))


def _drifts(values: Vector, places: Vector, *, level: float) -> list[Drift]:
    at_once = max(1, _MOST_PAIRS // values.shape[1] ** 2)
    parts = [slice(start, start + at_once) for start in range(0, len(values), at_once)]
    trends = [_trends(values[part], places[part], level) for part in parts]
    slopes, ps = (np.concatenate(found) for found in zip(*trends, strict=True))
    pct = slopes / np.array([[median(row)] for row in values]) * 100
    ends = np.sort(pct[:, 1:], axis=1)
    return [
        Drift(values.shape[1], Estimate(slope, low, high), p)
        for slope, (low, high), p in zip(pct[:, 0].tolist(), ends.tolist(), ps.tolist(), strict=True)
    ]


def trend_p(values: Vector) -> float:
    """Two-sided p of Kendall's tau between order and value, of at least 3 values; 1 where all are alike."""
    if alike(values):
        return 1.0
    places = np.arange(len(values), dtype=np.float64)
    if len(values) > _MOST_PAIRED:
        return float(scipy.stats.kendalltau(places, values).pvalue)
    return float(_kendall_p(values[None, :], places[None, :])[0])


def may_trend(values: Vector, level: float) -> bool:
    """Whether `trend_p` can be below a level of at most 1 %: a tenth of its time, for thousands of series without a trend.

    Kendall's S with its variance under ties, as a normal deviate. Exact tails are thinner than the normal one, the more so
    the smaller the level: the normal p may be 10 level^0.6.
    """
    n, order = len(values), np.argsort(values)
    ordered = values[order]
    ranks = np.zeros(n, dtype=np.int64)
    ranks[order[1:]] = np.cumsum(ordered[1:] != ordered[:-1])
    ties = np.bincount(ranks)
    s = n * (n - 1) // 2 - int((ties * (ties - 1) // 2).sum()) - 2 * _falls(ranks)
    variance = (n * (n - 1) * (2 * n + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    return variance > 0 and math.erfc(abs(s) / math.sqrt(2 * variance)) <= 10 * level**0.6


def _falls(ranks: NDArray[np.int64]) -> int:
    """How many pairs have the larger of two ranks first.

    All pairs at once, or for long series a bit at a time: of two ranks that agree in all higher bits, the first is larger
    if it has the bit and the second has not.
    """
    if len(ranks) <= _MOST_PAIRED:
        short = ranks.astype(np.int16)  # several times as fast to compare
        return int(np.count_nonzero(np.less.outer(short, short) & _before(len(ranks))))
    falls = 0
    for bit in range(int(ranks.max()).bit_length()):
        above = ranks >> bit
        above = above[np.argsort(above >> 1, kind="stable")]
        groups, has = above >> 1, above & 1
        ones = np.cumsum(has)
        without = has == 0
        starts = np.searchsorted(groups, groups[without])
        falls += int(ones[without].sum() - (ones - has)[starts].sum())
    return falls


@lru_cache(maxsize=2)
def _before(n: int) -> NDArray[np.bool_]:
    """Which of two places, row and column, is the later one."""
    return np.tri(n, k=-1, dtype=np.bool_)


def _trends(values: Vector, places: Vector, level: float) -> tuple[Vector, Vector]:
    """Of each row, its places ascending: the median slope and the ends of its interval, shape (rows, 3), and Kendall's p.

    As `scipy.stats.theilslopes` and `kendalltau`, one row at a time, whose checks take longer.
    """
    n, row = values.shape[1], np.arange(len(values))
    across, up = _later_less_earlier(places), _later_less_earlier(values)
    there = across > 0
    slopes = np.sort(np.where(there, up, np.nan) / np.where(there, across, 1.0), axis=1)  # NaN comes last
    count = np.count_nonzero(there, axis=1)
    variance = (n * (n - 1) * (2 * n + 5) - _ties(places)[:, 2] - _ties(values)[:, 2]) / 18
    with np.errstate(invalid="ignore"):
        reach = float(special.ndtri((1 - level) / 2)) * np.sqrt(variance)
    known = np.nan_to_num(reach)
    low = np.maximum(np.round((count + known) / 2).astype(np.int64) - 1, 0)
    high = np.minimum(np.round((count - known) / 2).astype(np.int64), count - 1)
    middle = (slopes[row, (count - 1) // 2] + slopes[row, count // 2]) / 2
    ends = [np.where(variance < 0, np.nan, slopes[row, end]) for end in (low, high)]
    return np.column_stack([middle, *ends]), _kendall_p(values, places)


def _later_less_earlier(rows: Vector) -> Vector:
    """The differences of all pairs of each row, shape (rows, pairs)."""
    first, second = np.triu_indices(rows.shape[1], 1)
    return np.asarray(rows[:, second] - rows[:, first])


def _ties(rows: Vector) -> Vector:
    """Of each row the sums over groups of t alike values: t(t - 1)/2, t(t - 1)(t - 2), t(t - 1)(2t + 5)."""
    found, ordered = np.zeros((len(rows), 3)), np.sort(rows, axis=1)
    for place in np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)):
        t = np.unique(rows[place], return_counts=True)[1]
        found[place] = [np.sum(t * (t - 1)) / 2, np.sum(t * (t - 1) * (t - 2)), np.sum(t * (t - 1) * (2 * t + 5))]
    return found


def _kendall_p(values: Vector, places: Vector) -> Vector:
    """The two-sided p of Kendall's tau of each row: exact without ties up to 33 values, else by the normal distribution."""
    n, m = values.shape[1], values.shape[1] * (values.shape[1] - 1)
    of_values, of_places = _ties(values), _ties(places)
    order = np.sign(_later_less_earlier(values)) * np.sign(_later_less_earlier(places))
    concordant, discordant = (np.count_nonzero(order == sign, axis=1) for sign in (1, -1))
    variance = (m * (2 * n + 5) - of_values[:, 2] - of_places[:, 2]) / 18
    variance += 2 * of_values[:, 0] * of_places[:, 0] / m + of_values[:, 1] * of_places[:, 1] / (9 * m * (n - 2))
    p = 2 * special.ndtr(-np.abs(concordant - discordant) / np.sqrt(variance))
    fewer = np.minimum(concordant, discordant)
    untied = concordant + discordant == m // 2
    if n <= _MOST_EXACT:
        exact = np.where(4 * fewer == m, 1.0, np.minimum(1.0, 2 * _chances(n)[fewer]))
        return np.where(untied, exact, p)
    return np.where(untied & (fewer == 0), 2 / math.factorial(n), p)


@lru_cache(maxsize=_MOST_EXACT)
def _chances(n: int) -> Vector:
    """The chance that an order of n values has at most 0, 1, 2 ... discordant pairs (Kendall 1970, "Rank Correlation")."""
    counts = np.zeros(n * (n - 1) // 2 + 1)
    counts[:2] = 1.0
    for size in range(3, n + 1):
        counts = np.cumsum(counts)
        counts[size:] -= counts[:-size].copy()
    return np.asarray(np.cumsum(counts) / math.factorial(n))
