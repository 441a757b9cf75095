"""Do two arms differ in their spread?

An optimisation may leave the mean and steady the runs. Independent arms: Levene's test in the form of Brown and Forsythe, by
hand because SciPy's takes 0.4 ms and `scipy.stats` half a second to import. Arms paired by block: Pitman and Morgan, which
SciPy does not have.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import Estimate, Values, alike, critical_t, median, sd_of, t_p, two_samples

_LEAST = 3


@dataclass(frozen=True)
class PairedSpreadRatio:
    """sd(b) / sd(a) of paired arms, its interval and p of equal spread after Pitman and Morgan (1939)."""

    n: int
    ratio: Estimate
    p: float


def brown_forsythe(a: Values, b: Values) -> float | NotEstimable:
    """The p-value of equal spread: one-way analysis of variance of the distances from each arm's median.

    Levene (1960), with the median of Brown and Forsythe (1974), "Robust tests for the equality of variances", J. Am.
    Statist. Assoc. 69. At least 3 values an arm.
    """
    arms = two_samples(a, b, _LEAST)
    if isinstance(arms, NotEstimable):
        return arms
    distances = [np.abs(arm - median(arm)) for arm in arms]
    if all(alike(each, scale=float(np.abs(arm).max())) for each, arm in zip(distances, arms, strict=True)):
        return NotEstimable("equally_far")
    n = sum(map(len, arms))
    means, middle = [float(each.mean()) for each in distances], float(np.concatenate(distances).mean())
    between = sum(len(each) * (mean - middle) ** 2 for each, mean in zip(distances, means, strict=True))
    within = sum(float(away @ away) for away in (each - mean for each, mean in zip(distances, means, strict=True)))
    return float(special.fdtrc(1, n - 2, (n - 2) * between / within)) if within else 0.0


def paired_spread_ratio(a: Values, b: Values, level: float = 0.95) -> PairedSpreadRatio | NotEstimable:
    """The ratio of the standard deviations of paired arms, at least 3 pairs.

    Equal spread means that sums and differences of the pairs do not correlate: Pitman (1939) and Morgan (1939), both
    Biometrika 31; the interval inverts the test, as in Snedecor and Cochran (1989), "Statistical Methods", chapter 10.
    Arms that are proportional to each other have an interval without width and p = 0. Arms whose differences spread by
    rounding alone have no noise to test with.
    """
    arms = two_samples(a, b, _LEAST, paired=True)
    if isinstance(arms, NotEstimable):
        return arms
    if alike(arms[0]) or alike(arms[1]):
        return NotEstimable("arm_alike")
    if alike(arms[1] - arms[0], scale=max(1.0, float(np.max(np.abs(arms))))):
        return NotEstimable("differences_alike")
    df = len(arms[0]) - 2
    means = [float(arm.mean()) for arm in arms]
    sds = [sd_of(arm, mean) for arm, mean in zip(arms, means, strict=True)]
    ratio = sds[1] / sds[0]
    scaled = [(arm - mean) / sd for arm, mean, sd in zip(arms, means, sds, strict=True)]
    r = min(1.0, max(-1.0, float(scaled[0] @ scaled[1]) / (df + 1)))
    critical = critical_t(df, level)
    spread = 1 + 2 * (1 - r * r) * critical * critical / df
    factor = math.sqrt(spread + math.sqrt(spread * spread - 1))
    return PairedSpreadRatio(df + 2, Estimate(ratio, ratio / factor, ratio * factor), _pitman_morgan(ratio, r, df))


def _pitman_morgan(ratio: float, r: float, df: int) -> float:
    """The p-value of t = (F - 1) sqrt(df) / (2 sqrt(F (1 - r^2))), F the ratio of variances."""
    noise = 4 * ratio**2 * (1 - r * r)
    if noise <= 0:
        return 0.0
    return t_p(ratio**2 - 1, math.sqrt(noise / df), df)
