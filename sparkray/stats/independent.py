"""The study's own protocol: two arms as independent samples, the test chosen by checks of its assumptions.

Beside the paired ratio, never instead of it: the protocol was published before the data, and a reader may want its
numbers. It ignores the blocks, so drift between blocks widens it. Shapiro-Wilk, Mann-Whitney and Levene are SciPy's; the
two t tests are by hand because `scipy.stats.ttest_ind` warns of nearly equal values and takes 2.6 ms.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from sparkray.stats import NotEstimable
from sparkray.stats import bootstrap as resampling
from sparkray.stats.samples import Estimate, Values, Vector, alike, pooled_variance, t_p, two_samples, varies, welch_df
from sparkray.stats.variance import brown_forsythe

TestName = Literal["student", "welch", "mann_whitney"]
_LEAST = 3
# How many values Royston's polynomials were fitted for.
_MOST_NORMALITY = 5000


@dataclass(frozen=True)
class Independent:
    """The protocol's test of two arms.

    Attributes:
        test: The one that was chosen.
        rule: Why, as a code: `not_normal_a` or `_b` (Shapiro-Wilk below alpha), `normality_untested_a` or `_b`,
            `unequal_spread` (Levene below alpha), `spread_untested`, else `equal_spread`.
        statistic: t of (b - a), or U of b.
        df: Degrees of freedom of t; None for U.
        p: Two-sided.
        shapiro_p_a: Of normality of the reference arm (Shapiro and Wilk 1965); None where it cannot be tested.
        shapiro_p_b: Of the other arm.
        levene_p: Of equal spread (Brown and Forsythe 1974); None where it cannot be tested.
        bootstrap: mean(b) / mean(a) with its BCa interval, only where Mann and Whitney's test was chosen; None otherwise
            and where there is none (a value not above 0).
    """

    test: TestName
    rule: str
    statistic: float
    df: float | None
    p: float
    shapiro_p_a: float | None
    shapiro_p_b: float | None
    levene_p: float | None
    bootstrap: Estimate | None


def independent(
    a: Values, b: Values, *, alpha: float = 0.05, seed: int = 0, resamples: int = resampling.RESAMPLES
) -> Independent | NotEstimable:
    """Test two independent arms after the protocol.

    Student's t where both arms pass Shapiro and Wilk and their spreads pass Levene; Welch's t where the spreads differ;
    Mann and Whitney's U with a BCa interval of the ratio of means where normality fails or cannot be tested.

    Args:
        a: Values of the reference arm, shape (n_a,), at least 3.
        b: Values of the other arm, shape (n_b,), likewise.
        alpha: Level of the checks.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Returns:
        The test, or why there is none (too few values, one that is not finite, no variation at all).
    """
    arms = two_samples(a, b, _LEAST)
    if isinstance(arms, NotEstimable):
        return arms
    if alike(arms[0]) and alike(arms[1]):
        return NotEstimable("arms_alike")
    normal = normality(arms[0]), normality(arms[1])
    p_a, p_b = (None if isinstance(p, NotEstimable) else p for p in normal)
    equal = brown_forsythe(*arms)
    levene_p = None if isinstance(equal, NotEstimable) else equal
    test, rule = _choice(normal, equal, alpha)
    if test == "mann_whitney":
        ratio = resampling.ratio_of_means(*arms, seed=seed, resamples=resamples)
        statistic, p = mann_whitney(*arms)
        interval = None if isinstance(ratio, NotEstimable) else ratio
        return Independent(test, rule, statistic, None, p, p_a, p_b, levene_p, interval)
    statistic, df, p = student(*arms) if test == "student" else welch(*arms)
    return Independent(test, rule, statistic, df, p, p_a, p_b, levene_p, None)


def normality(values: Vector) -> float | NotEstimable:
    """The p-value of normality by Shapiro and Wilk (1965), Royston's algorithm (1995), by SciPy."""
    if not _LEAST <= len(values) <= _MOST_NORMALITY:
        return NotEstimable.of("untested_normality", n=len(values), least=_LEAST, most=_MOST_NORMALITY)
    if alike(values):
        return NotEstimable("all_alike")
    return float(scipy.stats.shapiro((values - np.mean(values)) / np.ptp(values)).pvalue)


def student(a: Vector, b: Vector) -> tuple[float, float, float]:
    """Student's t of (b - a), its degrees of freedom and p, with pooled variance (Student 1908). Arms must vary."""
    return _t_test(a, b, math.sqrt(pooled_variance(a, b) * (1 / len(a) + 1 / len(b))), len(a) + len(b) - 2)


def _t_test(a: Vector, b: Vector, error: float, df: float) -> tuple[float, float, float]:
    difference = float(np.mean(b) - np.mean(a))
    return difference / error, float(df), t_p(difference, error, df)


def welch(a: Vector, b: Vector) -> tuple[float, float, float]:
    """Welch's t of (b - a), its degrees of freedom and p, variances apart. Arms must vary.

    Welch (1947), "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34.
    """
    first, second = float(np.var(a, ddof=1)) / len(a), float(np.var(b, ddof=1)) / len(b)
    return _t_test(a, b, math.sqrt(first + second), welch_df(first, len(a), second, len(b)))


def welch_p(a: Vector, b: Vector) -> float | None:
    """Two-sided p of Welch's t; None where an arm has fewer than 2 values, or neither varies."""
    if min(len(a), len(b)) < 2 or not (varies(a) or varies(b)):  # noqa: PLR2004 - a variance needs two
        return None
    scale = float(np.max(np.abs(np.concatenate([a, b]))))  # squares of tiny values would vanish
    return welch(a / scale, b / scale)[2]


def mann_whitney(a: Vector, b: Vector) -> tuple[float, float]:
    """U of b (pairs of values in which b is greater, ties half) and two-sided p, by SciPy.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18. Exact where an arm has up to 8 values and none are tied,
    else normal with corrections for ties and continuity.
    """
    test = scipy.stats.mannwhitneyu(b, a)
    return float(test.statistic), 1.0 if math.isnan(test.pvalue) else float(test.pvalue)


def _choice(
    normal: tuple[float | NotEstimable, float | NotEstimable], equal: float | NotEstimable, alpha: float
) -> tuple[TestName, str]:
    """The test and the rule that chose it."""
    for arm, p in zip(("a", "b"), normal, strict=True):
        if isinstance(p, NotEstimable) or p < alpha:
            return "mann_whitney", f"{'normality_untested' if isinstance(p, NotEstimable) else 'not_normal'}_{arm}"
    if isinstance(equal, NotEstimable):
        return "welch", "spread_untested"
    return ("welch", "unequal_spread") if equal < alpha else ("student", "equal_spread")
