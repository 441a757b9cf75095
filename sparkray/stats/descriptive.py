"""Descriptive statistics of a sample: location, spread and tails, each with its interval."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import Estimate, Values, Vector, exponential, of_ordered, sample, sd_of, t_interval


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
    checked = sample(values)
    if isinstance(checked, NotEstimable):
        return checked
    n, ordered, known = len(checked), np.sort(checked), describe(checked)
    return Summary(
        n=n,
        mean=mean_interval(checked, level),
        median=_quantile(ordered, 0.5, level),
        sd=known.sd,
        min=float(ordered[0]),
        max=float(ordered[-1]),
        q1=of_ordered(ordered, 0.25),
        q3=of_ordered(ordered, 0.75),
        cv_pct=known.cv_pct,
        p5=_quantile(ordered, 0.05, level),
        p95=_quantile(ordered, 0.95, level),
        p99=_quantile(ordered, 0.99, level),
        geometric_mean=geometric_mean(checked, level),
    )


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


def _quantile(ordered: Vector, q: float, level: float) -> Estimate:
    """A quantile with its order-statistic interval, which assumes no distribution.

    The quantile itself is NumPy's (linear, type 7 of Hyndman and Fan 1996). An end that needs a larger sample is None.
    """
    lower, upper = interval_ranks(len(ordered), q, level)
    return Estimate(
        of_ordered(ordered, q),
        None if lower is None else float(ordered[lower - 1]),
        None if upper is None else float(ordered[upper - 1]),
    )
