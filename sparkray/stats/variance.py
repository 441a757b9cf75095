"""Do two arms differ in their spread?

An optimisation may leave the mean and calm the runs. Independent arms: the ratio of standard deviations, Levene's test in
the form of Brown and Forsythe. Arms paired by block: Pitman and Morgan, since what a block does to both arms alike would
otherwise count twice.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import RESAMPLES, bca, exponential, resampled_means
from sparkray.stats.samples import Estimate, Values, Vector, alike, median, two_samples

_LEAST = 3
_LEAST_RESAMPLED = 5
"""Below it most resamples hold too few distinct values for a spread."""
_LOST = 1e-12
"""A variance below this share of the sample's is rounding."""


@dataclass(frozen=True)
class SpreadRatio:
    """sd(b) / sd(a) of independent arms.

    Attributes:
        n_a: Values of the reference arm.
        n_b: Values of the other arm.
        ratio: With the interval of the F distribution, exact where both arms are normal.
        bootstrap: With the BCa interval, which assumes no distribution.
        levene_p: Of equal spread, by Brown and Forsythe (1974); None where it cannot be tested (`brown_forsythe`).
    """

    n_a: int
    n_b: int
    ratio: Estimate
    bootstrap: Estimate | NotEstimable
    levene_p: float | None


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
    n = [len(each) for each in distances]
    df = sum(n) - 2
    means = [float(np.mean(each)) for each in distances]
    grand = (n[0] * means[0] + n[1] * means[1]) / sum(n)
    between = sum(size * (mean - grand) ** 2 for size, mean in zip(n, means, strict=True))
    within = sum(float(np.sum((each - mean) ** 2)) for each, mean in zip(distances, means, strict=True))
    if within <= (np.finfo(np.float64).eps * max(float(np.max(np.abs(arm))) for arm in arms)) ** 2:
        return NotEstimable("in both arms all values lie equally far from the median")
    return float(special.fdtrc(1, df, between / (within / df)))


def spread_ratio(
    a: Values, b: Values, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> SpreadRatio | NotEstimable:
    """The ratio of the standard deviations of independent arms.

    Args:
        a: Values of the reference arm, shape (n_a,), at least 3, not all alike.
        b: Values of the other arm, shape (n_b,), likewise.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        level: Confidence of both intervals.
    """
    arms = _spread_out(a, b)
    if isinstance(arms, NotEstimable):
        return arms
    p = brown_forsythe(*arms)
    ratio = float(np.std(arms[1], ddof=1) / np.std(arms[0], ddof=1))
    df = len(arms[0]) - 1, len(arms[1]) - 1
    half = (1 - level) / 2
    low = ratio / math.sqrt(float(special.fdtri(df[1], df[0], 1 - half)))
    high = ratio * math.sqrt(float(special.fdtri(df[0], df[1], 1 - half)))
    resampled = _bootstrap(arms, seed, resamples, level)
    return SpreadRatio(
        len(arms[0]), len(arms[1]), Estimate(ratio, low, high), resampled, None if isinstance(p, NotEstimable) else p
    )


def paired_spread_ratio(a: Values, b: Values, level: float = 0.95) -> PairedSpreadRatio | NotEstimable:
    """The ratio of the standard deviations of paired arms, at least 3 pairs.

    Equal spread means that sums and differences of the pairs do not correlate: Pitman (1939) and Morgan (1939), both
    Biometrika 31; the interval inverts the test, as in Snedecor and Cochran (1989), "Statistical Methods", chapter 10.
    Arms that are proportional to each other have an interval without width and p = 0 (1 when they spread alike).
    """
    if len(a) != len(b):
        return NotEstimable(f"{len(a)} values against {len(b)}: pairs are needed")
    arms = _spread_out(a, b)
    if isinstance(arms, NotEstimable):
        return arms
    df = len(arms[0]) - 2
    sds = [float(np.std(arm, ddof=1)) for arm in arms]
    ratio = sds[1] / sds[0]
    scaled = [(arm - np.mean(arm)) / sd for arm, sd in zip(arms, sds, strict=True)]
    r = float(np.clip(scaled[0] @ scaled[1] / (df + 1), -1.0, 1.0))
    critical = float(special.stdtrit(df, 0.5 + level / 2))
    spread = 1 + 2 * (1 - r * r) * critical * critical / df
    factor = math.sqrt(spread + math.sqrt(spread * spread - 1))
    return PairedSpreadRatio(df + 2, Estimate(ratio, ratio / factor, ratio * factor), _pitman_morgan(ratio, r, df))


def _pitman_morgan(ratio: float, r: float, df: int) -> float:
    """The p-value of t = (F - 1) sqrt(df) / (2 sqrt(F (1 - r^2))), F the ratio of variances."""
    noise = 4 * ratio**2 * (1 - r * r)
    if noise <= 0:
        return 1.0 if math.isclose(ratio, 1.0, rel_tol=1e-12) else 0.0
    t = (ratio**2 - 1) * math.sqrt(df / noise)
    return 2 * float(special.stdtr(df, -abs(t)))


def _spread_out(a: Values, b: Values) -> tuple[Vector, Vector] | NotEstimable:
    arms = two_samples(a, b, _LEAST)
    if isinstance(arms, NotEstimable):
        return arms
    for name, arm in zip(("first", "second"), arms, strict=True):
        if alike(arm):
            return NotEstimable(f"{name} arm: all values are alike, so their spread has no ratio to another")
    return arms


def _bootstrap(arms: tuple[Vector, Vector], seed: int, resamples: int, level: float) -> Estimate | NotEstimable:
    """The BCa interval of the log ratio; resamples in which an arm has no spread are left out."""
    if min(len(arm) for arm in arms) < _LEAST_RESAMPLED:
        return NotEstimable(f"fewer than {_LEAST_RESAMPLED} values in an arm: too few spreads to draw")
    observed = [float(np.log(np.std(arm))) for arm in arms]
    streams = (0, 1) if observed[0] <= observed[1] else (1, 0)  # as in bootstrap.ratio_of_means
    variances = [_variances(arm, resamples, (seed, stream)) for arm, stream in zip(arms, streams, strict=True)]
    usable = (variances[0] > 0) & (variances[1] > 0)
    distribution = (np.log(variances[1][usable]) - np.log(variances[0][usable])) / 2
    jackknifed = [_jackknifed_variances(arm) for arm in arms]
    if min(float(np.min(each)) for each in jackknifed) <= 0:
        return NotEstimable("without one value an arm has no spread left")
    found = bca(
        distribution,
        observed[1] - observed[0],
        [observed[1] - np.log(jackknifed[0]) / 2, np.log(jackknifed[1]) / 2 - observed[0]],
        level=level,
    )
    return found if isinstance(found, NotEstimable) else exponential(found)


def _variances(values: Vector, resamples: int, stream: tuple[int, int]) -> Vector:
    """The variance (over n) of each resample, 0 where it is lost in rounding."""
    scaled = (values - np.mean(values)) / np.std(values)
    moments = resampled_means(np.column_stack([scaled, scaled**2]), resamples, stream)
    variance = moments[:, 1] - moments[:, 0] ** 2
    return np.asarray(np.where(variance > _LOST, variance, 0.0) * np.var(values))


def _jackknifed_variances(values: Vector) -> Vector:
    """The variance (over its count) without the i-th value, for each i."""
    n = len(values)
    centred = values - np.mean(values)
    first, second = -centred / (n - 1), (np.sum(centred**2) - centred**2) / (n - 1)
    variance = second - first**2
    return np.asarray(np.where(variance > _LOST * np.var(values), variance, 0.0))
