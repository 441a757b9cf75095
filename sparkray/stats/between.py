"""Two studies that share no blocks: the ratio of what each estimated, and the verdict on it.

Each study gives a mean of logarithms with its sd and n: of log ratios inside blocks (what did the container cost before
and after the update?), or of the log values of one arm (is this arm itself faster now?). The studies are independent, so the
difference of the two means has the standard error sqrt(s_a^2/n_a + s_b^2/n_b) and, the variances not being taken for equal,
Student's t with the degrees of freedom of Welch (1947) and Satterthwaite (1946)::

    df = (s_a^2/n_a + s_b^2/n_b)^2 / ((s_a^2/n_a)^2/(n_a - 1) + (s_b^2/n_b)^2/(n_b - 1))

The exponential of the difference is a ratio of ratios (or of geometric means), and its verdict follows the same two
one-sided tests as a paired ratio's (`stats.paired`).
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Decision, Ratio, decide
from sparkray.stats.samples import Values, from_log, ratio_interval, sample, too_few, welch_df

_LEAST = 2


@dataclass(frozen=True)
class LogSample:
    """A sample on the logarithmic scale: natural logarithm's mean and sd (n - 1 in its denominator) over n units."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Between:
    """The ratio of study b to study a. Intervals are (low, high).

    `df` are Welch's and Satterthwaite's, `n` the units of the smaller study, `sd_log` the root of the summed variances.
    """

    ratio: float
    ci95: tuple[float, float]
    ci90: tuple[float, float]
    df: float
    n: int
    sd_log: float

    @property
    def excludes_one(self) -> bool:
        """Whether the 95 % interval excludes 1."""
        return not self.ci95[0] <= 1.0 <= self.ci95[1]


def log_sample(values: Values) -> LogSample | NotEstimable:
    """Mean and sd of the natural logarithms of an arm's values (any unit, above 0), or why there are none."""
    checked = sample(values, _LEAST, positive=True)
    if isinstance(checked, NotEstimable):
        return checked
    logs = np.log(checked)
    return LogSample(float(np.mean(logs)), float(np.std(logs, ddof=1)), len(logs))


def between(a: LogSample, b: LogSample) -> Between | NotEstimable:
    """The ratio exp(mean_b - mean_a) with Welch's intervals.

    Args:
        a: The study that is compared against.
        b: The other one.

    Returns:
        The ratio, or why there is none: fewer than 2 units on a side, values that are not finite, or no spread on either.
    """
    for name, one in (("first", a), ("second", b)):
        if one.n < _LEAST:
            return NotEstimable(f"{name} study: {too_few(one.n, _LEAST).reason}")
        if not (math.isfinite(one.mean) and math.isfinite(one.sd) and one.sd >= 0):
            return NotEstimable(f"{name} study: mean or spread is not a finite number")
    part_a, part_b = a.sd**2 / a.n, b.sd**2 / b.n
    error = math.sqrt(part_a + part_b)
    if error == 0.0:
        return NotEstimable("neither study has any spread: there is no interval")
    df, difference = welch_df(part_a, a.n, part_b, b.n), b.mean - a.mean
    ci95, ci90 = (ratio_interval(difference, error, df, level) for level in (0.95, 0.90))
    return Between(from_log(difference), ci95, ci90, df, min(a.n, b.n), math.hypot(a.sd, b.sd))


def decide_between(ratio: Between, margin: float) -> Decision:
    """The verdict against a relative margin above 0, by the rules of `stats.paired.decide`.

    `pairs_needed` is the number of pairs in *each* study, both alike large: the error of a paired design whose differences
    have the variance s_a^2 + s_b^2. Its degrees of freedom are n - 1 where Welch has up to 2(n - 1), so the number errs on
    the safe side.

    Raises:
        ValueError: The margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin}: must be above 0")
    return decide(Ratio(ratio.n, ratio.ratio, ratio.ci95, ratio.ci90, ratio.sd_log), margin)
