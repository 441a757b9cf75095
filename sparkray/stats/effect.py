"""How large a difference is, counted in standard deviations.

It answers "how visible is it", not "does it matter": with quiet runs a difference of 0.1 % may have d = 3. The verdict uses
the ratio and its margin.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable, noncentral
from sparkray.stats.samples import Estimate, Values, alike, pooled_variance, two_samples

_LEAST = 2


@dataclass(frozen=True)
class Effect:
    """A standardised difference (b - a) / sd with its interval; `g` is `d` freed of the bias of small samples."""

    d: Estimate
    g: Estimate


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
    arms = two_samples(a, b, _LEAST)
    if isinstance(arms, NotEstimable):
        return arms
    if alike(arms[0]) and alike(arms[1]):
        return NotEstimable("arms_alike")
    n_a, n_b = (len(arm) for arm in arms)
    df, root_n = n_a + n_b - 2, math.sqrt(n_a * n_b / (n_a + n_b))
    d = float(np.mean(arms[1]) - np.mean(arms[0])) / math.sqrt(pooled_variance(*arms))
    low, high = (bound / root_n for bound in noncentral.interval(d * root_n, df, level))
    factor = correction(df)
    return Effect(Estimate(d, low, high), Estimate(factor * d, factor * low, factor * high))


def correction(df: float) -> float:
    """Hedges' (1981) exact factor gamma(df/2) / (sqrt(df/2) gamma((df-1)/2)) that makes d unbiased; df at least 2."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
