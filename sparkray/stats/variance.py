"""Do two arms differ in their spread?

An optimisation may leave the mean and steady the runs. Independent arms: Levene's test in the form of Brown and Forsythe, by
hand because SciPy's takes 0.4 ms and `scipy.stats` half a second to import. Arms paired by block: Pitman and Morgan, which
SciPy does not have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import (
    Estimate,
    Values,
    Vector,
    alike,
    critical_t,
    medians,
    rounding,
    t_p,
    together,
    two_samples,
)

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
    return brown_forsythes([(a, b)])[0]


def brown_forsythes(pairs: Sequence[tuple[Values, Values]]) -> list[float | NotEstimable]:
    """`brown_forsythe` of many pairs of arms at once."""
    return together([two_samples(a, b, _LEAST) for a, b in pairs], _levene)


def _levene(a: Vector, b: Vector) -> list[float | NotEstimable]:
    distances, n = [np.abs(arm - medians(arm)) for arm in (a, b)], a.shape[1] + b.shape[1]
    flat = [
        np.ptp(each, axis=1) <= rounding(np.max(np.abs(arm), axis=1))
        for each, arm in zip(distances, (a, b), strict=True)
    ]
    means = [np.mean(each, axis=1, keepdims=True) for each in distances]
    middle = np.mean(np.concatenate(distances, axis=1), axis=1, keepdims=True)
    between = sum(each.shape[1] * (mean - middle)[:, 0] ** 2 for each, mean in zip(distances, means, strict=True))
    within = sum(np.sum((each - mean) ** 2, axis=1) for each, mean in zip(distances, means, strict=True))
    p = np.where(within > 0, special.fdtrc(1, n - 2, (n - 2) * between / np.where(within > 0, within, 1.0)), 0.0)
    every = zip(p.tolist(), (flat[0] & flat[1]).tolist(), strict=True)
    return [NotEstimable("equally_far") if none else one for one, none in every]


def paired_spread_ratio(a: Values, b: Values, level: float = 0.95) -> PairedSpreadRatio | NotEstimable:
    """The ratio of the standard deviations of paired arms, at least 3 pairs.

    Equal spread means that sums and differences of the pairs do not correlate: Pitman (1939) and Morgan (1939), both
    Biometrika 31; the interval inverts the test, as in Snedecor and Cochran (1989), "Statistical Methods", chapter 10.
    Arms that are proportional to each other have an interval without width and p = 0. Arms whose differences spread by
    rounding alone have no noise to test with.
    """
    return paired_spread_ratios([(a, b)], level)[0]


def paired_spread_ratios(
    pairs: Sequence[tuple[Values, Values]], level: float = 0.95
) -> list[PairedSpreadRatio | NotEstimable]:
    """`paired_spread_ratio` of many pairs of arms at once."""
    return together([_varied(a, b) for a, b in pairs], partial(_spreads, level=level))


def _varied(a: Values, b: Values) -> tuple[Vector, Vector] | NotEstimable:
    arms = two_samples(a, b, _LEAST, paired=True)
    if isinstance(arms, NotEstimable):
        return arms
    if alike(arms[0]) or alike(arms[1]):
        return NotEstimable("arm_alike")
    if alike(arms[1] - arms[0], scale=max(1.0, float(np.max(np.abs(arms))))):
        return NotEstimable("differences_alike")
    return arms


def _spreads(a: Vector, b: Vector, *, level: float) -> list[PairedSpreadRatio]:
    df = a.shape[1] - 2
    away = [arm - np.mean(arm, axis=1, keepdims=True) for arm in (a, b)]
    sds = [np.sqrt(np.sum(each * each, axis=1, keepdims=True) / (df + 1)) for each in away]
    ratio = (sds[1] / sds[0])[:, 0]
    scaled = [each / sd for each, sd in zip(away, sds, strict=True)]
    r = np.clip(np.sum(scaled[0] * scaled[1], axis=1) / (df + 1), -1.0, 1.0)
    critical = critical_t(df, level)
    spread = 1 + 2 * (1 - r * r) * critical * critical / df
    factor = np.sqrt(spread + np.sqrt(spread * spread - 1))
    rows = np.column_stack([ratio, ratio / factor, ratio * factor, r]).tolist()
    return [PairedSpreadRatio(df + 2, Estimate(*row[:3]), _pitman_morgan(row[0], row[3], df)) for row in rows]


def _pitman_morgan(ratio: float, r: float, df: int) -> float:
    """The p-value of t = (F - 1) sqrt(df) / (2 sqrt(F (1 - r^2))), F the ratio of variances."""
    noise = 4 * ratio**2 * (1 - r * r)
    if noise <= 0:
        return 0.0
    return t_p(ratio**2 - 1, math.sqrt(noise / df), df)
