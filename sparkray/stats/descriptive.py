"""Descriptive statistics of a sample: location, spread and tails, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import (
    Estimate,
    Values,
    Vector,
    critical_t,
    exponential,
    sample,
    sd_of,
    t_interval,
    together,
)


@dataclass(frozen=True)
class Description:
    """A sample in four numbers. `sd` has n-1 in its denominator; `cv_pct` is sd over mean in per cent.

    `sd` is None for one value, `cv_pct` also when the mean is 0.
    """

    n: int
    mean: float | None
    sd: float | None
    cv_pct: float | None


@dataclass(frozen=True)
class Summary:
    """A sample as the table `descriptive` shows it: each field is a column of that name there.

    Everything is in the unit of the values, `cv_pct` in per cent.

    Attributes:
        n: How many values.
        mean: With Student's t interval; without an interval for one value.
        median: With its order-statistic interval (`interval_ranks`), as p5, p95 and p99.
        sd: With n-1 in its denominator; None for one value.
        min: The least value.
        max: The greatest value.
        q1: Lower quartile.
        q3: Upper quartile.
        cv_pct: sd over the absolute mean; None for one value or a mean of 0.
        p5: 5th percentile.
        p95: 95th percentile. Its upper bound needs 72 values.
        p99: 99th percentile. Its upper bound needs 368 values.
        geometric_mean: With Student's t interval of the mean logarithm; not estimable with values that are not above 0.
    """

    n: int
    mean: Estimate
    median: Estimate
    sd: float | None
    min: float
    max: float
    q1: float
    q3: float
    cv_pct: float | None
    p5: Estimate
    p95: Estimate
    p99: Estimate
    geometric_mean: Estimate | NotEstimable


def describe(values: Values) -> Description:
    """Description of a sample of any size; an empty one has nothing but n = 0."""
    if not len(values):
        return Description(0, None, None, None)
    vector = np.asarray(values, dtype=np.float64)
    mean = float(vector.mean())
    sd = sd_of(vector, mean) if len(vector) > 1 else None
    return Description(len(vector), mean, sd, abs(sd / mean) * 100 if sd is not None and mean else None)


def summary(values: Values, level: float = 0.95) -> Summary | NotEstimable:
    """Everything about a sample of at least one finite value.

    Args:
        values: Shape (n,), any unit.
        level: Confidence of every interval.

    Returns:
        The summary, or why there is none (no value, one that is not finite).
    """
    return summaries([values], level)[0]


def summaries(samples: Sequence[Values], level: float = 0.95) -> list[Summary | NotEstimable]:
    """`summary` of many samples at once."""

    def checked(values: Values) -> tuple[Vector] | NotEstimable:
        vector = sample(values)
        return vector if isinstance(vector, NotEstimable) else (vector,)

    return together([checked(values) for values in samples], partial(_summaries, level=level))


def _summaries(rows: Vector, *, level: float) -> list[Summary]:
    n, ordered = rows.shape[1], np.sort(rows, axis=1)
    positive = ordered[:, 0] > 0
    geometric: list[Estimate | NotEstimable] = [NotEstimable("no_logarithm")] * len(rows)
    of_logs = zip(*_mean_intervals(np.log(rows[positive]), level), strict=True)
    for place, (found, _) in zip(np.flatnonzero(positive).tolist(), of_logs, strict=True):
        geometric[place] = exponential(found)
    means, sds = _mean_intervals(rows, level)
    median, p5, p95, p99 = (_quantiles(ordered, q, level) for q in (0.5, 0.05, 0.95, 0.99))
    q1, q3 = (_at(ordered, q).tolist() for q in (0.25, 0.75))
    ends = ordered[:, 0].tolist(), ordered[:, -1].tolist()
    return [
        Summary(
            n=n,
            mean=means[row],
            median=median[row],
            sd=sd,
            min=ends[0][row],
            max=ends[1][row],
            q1=q1[row],
            q3=q3[row],
            cv_pct=abs(sd / means[row].value) * 100 if sd is not None and means[row].value else None,
            p5=p5[row],
            p95=p95[row],
            p99=p99[row],
            geometric_mean=geometric[row],
        )
        for row, sd in enumerate(sds)
    ]


def _mean_intervals(rows: Vector, level: float) -> tuple[list[Estimate], list[float | None]]:
    """The mean of each row with Student's t interval, and its standard deviation; both without these for one value."""
    n, means = rows.shape[1], np.mean(rows, axis=1)
    if n == 1:
        return [Estimate(mean, None, None) for mean in means.tolist()], [None] * len(rows)
    sds = np.sqrt(np.sum((rows - means[:, None]) ** 2, axis=1) / (n - 1))
    half = critical_t(n - 1, level) * (sds / math.sqrt(n))
    every = zip(means.tolist(), (means - half).tolist(), (means + half).tolist(), strict=True)
    return [Estimate(*one) for one in every], sds.tolist()


def mean_interval(values: Vector, level: float = 0.95) -> Estimate:
    """The mean of at least one finite value, with Student's t interval from two values on (Student 1908)."""
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Estimate(mean, None, None)
    return Estimate(mean, *t_interval(mean, sd_of(values, mean) / math.sqrt(n), n - 1, level))


def geometric_mean(values: Values, level: float = 0.95) -> Estimate | NotEstimable:
    """The exponential of the mean logarithm, with Student's t interval taken on the log scale; values above 0."""
    checked = sample(values, positive=True)
    return checked if isinstance(checked, NotEstimable) else exponential(mean_interval(np.log(checked), level))


@lru_cache(maxsize=4096)
def interval_ranks(n: int, q: float, level: float = 0.95) -> tuple[int | None, int | None]:
    """Ranks (1 is the least value) that bound a quantile of any continuous distribution.

    The number of values below the quantile is binomial(n, q). The lower rank l is the greatest with
    P(fewer than l below) <= (1 - level) / 2, the upper rank u the least with P(at least u below) <= (1 - level) / 2.
    Conover (1999), "Practical Nonparametric Statistics", section 3.2; Hahn and Meeker (1991), section 5.2. A rank is
    None where no value of the sample is far enough out.
    """
    tail = (1 - level) / 2
    below = special.bdtr(np.arange(n + 1, dtype=np.float64), n, q)  # below[k] = P(at most k values below)
    lower = int(np.sum(below <= tail))
    upper = 1 + int(np.sum(1 - below[:n] > tail))
    return (lower or None), (upper if upper <= n else None)


@lru_cache(maxsize=64)
def least_for_ends(q: float, level: float = 0.95) -> tuple[int, int]:
    """The least number of values with which a quantile's interval has a lower end, and with which it has an upper one.

    An end needs that all values lie on its other side with a chance of no more than (1 - level) / 2 (`interval_ranks`).
    """
    tail = math.log((1 - level) / 2)
    return math.ceil(tail / math.log1p(-q)), math.ceil(tail / math.log(q))


def _quantiles(ordered: Vector, q: float, level: float) -> list[Estimate]:
    """A quantile of each row, in ascending order, with its order-statistic interval, which assumes no distribution.

    The quantile itself is NumPy's (linear, type 7 of Hyndman and Fan 1996). An end that needs a larger sample is None.
    """
    none: list[float | None] = [None] * len(ordered)
    low, high = (
        none if rank is None else ordered[:, rank - 1].tolist() for rank in interval_ranks(ordered.shape[1], q, level)
    )
    return [Estimate(*one) for one in zip(_at(ordered, q).tolist(), low, high, strict=True)]


def _at(ordered: Vector, q: float) -> Vector:
    """`of_ordered` of each row."""
    place, last = q * (ordered.shape[1] - 1), ordered.shape[1] - 1
    below = min(int(place), last)
    low, high, share = ordered[:, below], ordered[:, min(below + 1, last)], place - below
    between = low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)  # noqa: PLR2004 - a half
    return np.asarray(between)
