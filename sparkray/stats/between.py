"""Two studies that share no blocks: the ratio of what each estimated, and the verdict on it.

Each study gives a mean of logarithms with its sd and n: of log ratios inside blocks (what did the container cost before
and after the update?), or of the log values of one arm (is this arm itself faster now?). The studies are independent, so the
difference of the two means has the standard error sqrt(s_a^2/n_a + s_b^2/n_b) and, the variances not being taken for equal,
Student's t with the degrees of freedom of Welch (1947) and Satterthwaite (1946)::

    df = (s_a^2/n_a + s_b^2/n_b)^2 / ((s_a^2/n_a)^2/(n_a - 1) + (s_b^2/n_b)^2/(n_b - 1))

The exponential of the difference is a ratio of ratios (or of geometric means), and its verdict follows the same two
one-sided tests as a paired ratio's (`stats.paired`).

Where studies measured one thing on several occasions, `pooled` estimates it from all of them: each has a mean and a variance
of its own, so that with N = sum(n_i) pairs the standard error is sqrt(sum(n_i s_i^2)) / N, and the degrees of freedom those
of Satterthwaite. It says what holds for these occasions, not how far another one may lie from them.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio
from sparkray.stats.samples import Values, from_log, ratio_interval, sample, too_few, welch_df

_LEAST = 2


@dataclass(frozen=True)
class LogSample:
    """A sample on the logarithmic scale: natural logarithm's mean and sd (n - 1 in its denominator) over n units."""

    mean: float
    sd: float
    n: int


def log_sample(values: Values) -> LogSample | NotEstimable:
    """Mean and sd of the natural logarithms of an arm's values (any unit, above 0), or why there are none."""
    checked = sample(values, _LEAST, positive=True)
    if isinstance(checked, NotEstimable):
        return checked
    logs = np.log(checked)
    return LogSample(float(np.mean(logs)), float(np.std(logs, ddof=1)), len(logs))


def between(a: LogSample, b: LogSample) -> tuple[Ratio, float] | NotEstimable:
    """The ratio exp(mean_b - mean_a) with Welch's intervals.

    Args:
        a: The study that is compared against.
        b: The other one.

    Returns:
        The ratio of b to a and its degrees of freedom, or why there is none: fewer than 2 units on a side, values that are
        not finite, or no spread on either. Its `n` are the units of the smaller study, its `sd_log` the root of the summed
        variances: `stats.paired.decide` gives the verdict, and as `pairs_needed` the pairs in *each* study, both alike
        large, with n - 1 degrees of freedom where Welch has up to 2(n - 1), so that the number errs on the safe side.
    """
    for name, one in (("first_study", a), ("second_study", b)):
        if bad := _unusable(one):
            return bad.at(name)
    part_a, part_b = a.sd**2 / a.n, b.sd**2 / b.n
    error = math.sqrt(part_a + part_b)
    if error == 0.0:
        return NotEstimable("no_spread_of_studies")
    df, difference = welch_df(part_a, a.n, part_b, b.n), b.mean - a.mean
    ci95, ci90 = (ratio_interval(difference, error, df, level) for level in (0.95, 0.90))
    return Ratio(min(a.n, b.n), from_log(difference), ci95, ci90, math.hypot(a.sd, b.sd)), df


def pooled(*studies: LogSample) -> tuple[Ratio, float] | NotEstimable:
    """The ratio that all studies estimate, each pair counted alike, and its degrees of freedom, or why there is none.

    Args:
        studies: Two or more: log ratios of each one's pairs.
    """
    if bad := next((one for one in map(_unusable, studies) if one), None):
        return bad
    n = sum(one.n for one in studies)
    parts = [one.n * one.sd**2 for one in studies]
    whole = sum(parts)
    if whole == 0.0:
        return NotEstimable("no_spread_of_studies")
    mean, error = sum(one.n * one.mean for one in studies) / n, math.sqrt(whole) / n
    df = 1 / sum((part / whole) ** 2 / (one.n - 1) for part, one in zip(parts, studies, strict=True))
    ci95, ci90 = (ratio_interval(mean, error, df, level) for level in (0.95, 0.90))
    return Ratio(n, from_log(mean), ci95, ci90, math.sqrt(whole / n)), df


def _unusable(one: LogSample) -> NotEstimable | None:
    if one.n < _LEAST:
        return too_few(one.n, _LEAST)
    if not (math.isfinite(one.mean) and math.isfinite(one.sd) and one.sd >= 0):
        return NotEstimable("bad_study")
    return None
