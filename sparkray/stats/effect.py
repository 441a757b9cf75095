"""How large a difference is, counted in standard deviations.

It answers "how visible is it", not "does it matter": with quiet runs a difference of 0.1 % may have d = 3. The verdict uses
the ratio and its margin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sparkray.stats import NotEstimable, noncentral
from sparkray.stats.power import two_sided_power
from sparkray.stats.samples import Estimate, Values, Vector, alike, together, two_samples

_LEAST = 2


@dataclass(frozen=True)
class Effect:
    """A standardised difference (b - a) / sd with its interval.

    Attributes:
        d: Cohen's.
        g: Hedges': `d` freed of the bias of small samples.
        power: Of Student's t test to see an effect of the size of `d`, at 5 %.
    """

    d: Estimate
    g: Estimate
    power: float


def cohen(a: Values, b: Values, level: float = 0.95) -> Effect | NotEstimable:
    """Cohen's d and Hedges' g of independent arms, in pooled standard deviations.

    The interval inverts the noncentral t distribution (Cumming and Finch 2001): exact where both arms are normal and
    spread alike. Hedges (1981), "Distribution theory for Glass's estimator of effect size and related estimators", J.
    Educ. Statist. 6.

    Args:
        a: Values of the reference arm, shape (n_a,), at least 2.
        b: Values of the other arm, shape (n_b,), likewise.
        level: Confidence.
    """
    return cohens([(a, b)], level)[0]


def cohens(pairs: Sequence[tuple[Values, Values]], level: float = 0.95) -> list[Effect | NotEstimable]:
    """`cohen` of many pairs of arms at once."""

    def checked(a: Values, b: Values) -> tuple[Vector, Vector] | NotEstimable:
        arms = two_samples(a, b, _LEAST)
        if not isinstance(arms, NotEstimable) and alike(arms[0]) and alike(arms[1]):
            return NotEstimable("arms_alike")
        return arms

    return together([checked(a, b) for a, b in pairs], partial(_effects, level=level))


def _effects(a: Vector, b: Vector, *, level: float) -> list[Effect]:
    n_a, n_b = a.shape[1], b.shape[1]
    df, root_n = n_a + n_b - 2, math.sqrt(n_a * n_b / (n_a + n_b))
    squares = (n_a - 1) * np.var(a, axis=1, ddof=1) + (n_b - 1) * np.var(b, axis=1, ddof=1)
    d = (np.mean(b, axis=1) - np.mean(a, axis=1)) / np.sqrt(squares / df)
    low, high = (bound / root_n for bound in noncentral.interval(d * root_n, df, level))
    rows = np.column_stack([d, low, high])
    both = zip(rows.tolist(), (correction(df) * rows).tolist(), two_sided_power(d * root_n, df).tolist(), strict=True)
    return [Effect(Estimate(*found), Estimate(*freed), power) for found, freed, power in both]


def correction(df: float) -> float:
    """Hedges' (1981) exact factor gamma(df/2) / (sqrt(df/2) gamma((df-1)/2)) that makes d unbiased; df at least 2."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
