"""The study's own protocol: two arms as independent samples, the test chosen by checks of its assumptions.

Beside the paired ratio, never instead of it: the protocol was published before the data, and a reader may want its
numbers. It ignores the blocks, so drift between blocks widens it. Tests are by hand because `scipy.stats` takes half a
second to import and 0.4 to 2.6 ms a test; the exact p of Mann and Whitney, for small samples without ties, is SciPy's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from sparkray.stats import NotEstimable, special
from sparkray.stats.normality import LEAST, MOST, shapiro_p
from sparkray.stats.samples import (
    Values,
    Vector,
    alike,
    pooled_variance,
    t_p,
    together,
    two_samples,
    varies,
    welch_df,
)
from sparkray.stats.variance import brown_forsythes

TestName = Literal["student", "welch", "mann_whitney"]
_LEAST = 3
# Up to so many values an arm, without ties, p of Mann and Whitney's test is exact.
_MOST_EXACT = 8


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
    """

    test: TestName
    rule: str
    statistic: float
    df: float | None
    p: float
    shapiro_p_a: float | None
    shapiro_p_b: float | None
    levene_p: float | None


def independent(a: Values, b: Values, *, alpha: float = 0.05) -> Independent | NotEstimable:
    """Test two independent arms after the protocol.

    Student's t where both arms pass Shapiro and Wilk and their spreads pass Levene; Welch's t where the spreads differ;
    Mann and Whitney's U where normality fails or cannot be tested.

    Args:
        a: Values of the reference arm, shape (n_a,), at least 3.
        b: Values of the other arm, shape (n_b,), likewise.
        alpha: Level of the checks.

    Returns:
        The test, or why there is none (too few values, one that is not finite, no variation at all).
    """
    return independents([(a, b)], alpha=alpha)[0]


def independents(pairs: Sequence[tuple[Values, Values]], *, alpha: float = 0.05) -> list[Independent | NotEstimable]:
    """`independent` of many pairs of arms at once."""
    every = [two_samples(a, b, _LEAST) for a, b in pairs]
    known = [arms for arms in every if not isinstance(arms, NotEstimable)]
    normal = iter(normalities([arm for arms in known for arm in arms]))
    equal = iter(brown_forsythes(known))
    return [
        arms
        if isinstance(arms, NotEstimable)
        else _tested(*arms, (next(normal), next(normal)), next(equal), alpha=alpha)
        for arms in every
    ]


def _tested(
    a: Vector,
    b: Vector,
    normal: tuple[float | NotEstimable, float | NotEstimable],
    equal: float | NotEstimable,
    *,
    alpha: float,
) -> Independent | NotEstimable:
    if alike(a) and alike(b):
        return NotEstimable("arms_alike")
    p_a, p_b = (None if isinstance(p, NotEstimable) else p for p in normal)
    levene_p = None if isinstance(equal, NotEstimable) else equal
    test, rule = _choice(normal, equal, alpha)
    if test == "mann_whitney":
        statistic, p = mann_whitney(a, b)
        return Independent(test, rule, statistic, None, p, p_a, p_b, levene_p)
    statistic, df, p = student(a, b) if test == "student" else welch(a, b)
    return Independent(test, rule, statistic, df, p, p_a, p_b, levene_p)


def normality(values: Vector) -> float | NotEstimable:
    """The p-value of normality by Shapiro and Wilk (1965), Royston's algorithm (1995)."""
    return normalities([values])[0]


def normalities(samples: Sequence[Vector]) -> list[float | NotEstimable]:
    """`normality` of many samples at once."""

    def checked(values: Vector) -> tuple[Vector] | NotEstimable:
        if not LEAST <= len(values) <= MOST:
            return NotEstimable.of("untested_normality", n=len(values), least=LEAST, most=MOST)
        return NotEstimable("all_alike") if alike(values) else (values,)

    def tested(rows: Vector) -> list[float]:
        centred = rows - np.mean(rows, axis=1, keepdims=True)  # and scaled, as squares of tiny values would vanish
        return list(map(float, shapiro_p(centred / np.ptp(rows, axis=1, keepdims=True))))

    return together([checked(values) for values in samples], tested)


def student(a: Vector, b: Vector) -> tuple[float, float, float]:
    """Student's t of (b - a), its degrees of freedom and p, with pooled variance (Student 1908). Arms must vary."""
    return _t_test(a, b, math.sqrt(pooled_variance(a, b) * (1 / len(a) + 1 / len(b))), len(a) + len(b) - 2)


def _t_test(a: Vector, b: Vector, error: float, df: float) -> tuple[float, float, float]:
    difference = float(b.mean() - a.mean())
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
    """U of b (pairs of values in which b is greater, ties half) and two-sided p.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18. Exact where an arm has up to 8 values and none are tied,
    else normal with corrections for ties and continuity.
    """
    n_a, n_b = len(a), len(b)
    tied = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    if min(n_a, n_b) <= _MOST_EXACT and len(tied) == n_a + n_b:
        test = scipy.stats.mannwhitneyu(b, a, method="exact")
        return float(test.statistic), float(test.pvalue)
    ordered = np.sort(a)
    u = float(np.sum(np.searchsorted(ordered, b, "left") + np.searchsorted(ordered, b, "right"))) / 2
    n, pairs = n_a + n_b, n_a * n_b
    variance = pairs / 12 * (n + 1 - float(np.sum(tied**3 - tied)) / (n * (n - 1)))
    if variance <= 0:
        return u, 1.0
    return u, min(1.0, 2 * float(special.ndtr(-(max(u, pairs - u) - pairs / 2 - 0.5) / math.sqrt(variance))))


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
