# ruff: noqa: PLR2004 - statistics are full of numbers
"""Statistics of pairs by NumPy and SciPy alone, for `pandas_analysis.py`."""

import math

import numpy as np
from scipy import optimize, special, stats

RESAMPLES = 10_000
# Resamples of all metrics of two arms that are in memory together.
BATCH = 250
ALPHA = 0.05
PAIRS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def tost_power(n: int, sd: float, margin: float) -> float:
    """Exact (Owen 1965): the chance that the mean falls into what the margin leaves, over the distribution of the sd."""
    critical = special.stdtrit(n - 1, 1 - ALPHA)
    bound = math.log1p(margin) * math.sqrt(n) / sd
    chi = stats.chi(n - 1, scale=1 / math.sqrt(n - 1))
    high = min(bound / critical, chi.isf(1e-15))
    s = high / 2 * (NODES + 1)
    inside = special.ndtr(bound - critical * s) - special.ndtr(critical * s - bound)
    return float(high / 2 * WEIGHTS @ (inside * chi.pdf(s)))


def pairs_needed(sd: float, margin: float) -> int | None:
    low, high = 1, 2
    while tost_power(high, sd, margin) < 0.8:
        low, high = high, high * 2
        if high > 100_000:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tost_power(middle, sd, margin) >= 0.8 else (middle, high)
    return high


def two_sided_power(noncentrality: float, df: int) -> float:
    critical = special.stdtrit(df, 1 - ALPHA / 2)
    return float(1 - special.nctdtr(df, noncentrality, critical) + special.nctdtr(df, noncentrality, -critical))


def noncentral_interval(t: float, df: int) -> tuple[float, float]:
    def bound(p: float) -> float:
        step = 4 + abs(t) / 2
        return optimize.brentq(lambda nc: special.nctdtr(df, nc, t) - p, t - step, t + step, xtol=1e-11)

    try:
        return bound(0.975), bound(0.025)
    except ValueError:
        return math.nan, math.nan  # SciPy's distribution function gives out at large noncentralities


def bootstrap(a: np.ndarray, b: np.ndarray, batch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """BCa of the log ratio of means."""
    rng = np.random.default_rng(0)
    if batch is None:

        def log_ratio(x: np.ndarray, y: np.ndarray) -> float:
            return np.log(np.mean(y)) - np.log(np.mean(x))

        found = stats.bootstrap((a[:, 0], b[:, 0]), log_ratio, n_resamples=RESAMPLES, method="BCa", rng=rng)
    else:
        found = stats.bootstrap(
            (a.T, b.T),
            lambda x, y, axis: np.log(np.mean(y, axis=axis)) - np.log(np.mean(x, axis=axis)),
            n_resamples=RESAMPLES,
            batch=batch,
            method="BCa",
            axis=-1,
            vectorized=True,
            rng=rng,
        )
    return np.exp(found.confidence_interval.low), np.exp(found.confidence_interval.high)


def permutation(a: np.ndarray, b: np.ndarray, batch: int | None) -> np.ndarray:
    """The p of exchanging arms inside blocks."""
    settings = {"permutation_type": "samples", "n_resamples": RESAMPLES, "rng": np.random.default_rng(0)}
    if batch is None:
        return stats.permutation_test((b[:, 0], a[:, 0]), lambda x, y: np.mean(x - y), **settings).pvalue
    mean = {"axis": -1, "vectorized": True, "batch": batch}
    return stats.permutation_test((b.T, a.T), lambda x, y, axis: np.mean(x - y, axis=axis), **mean, **settings).pvalue


def verdict(low: float, high: float, low90: float, high90: float, margin: float | None) -> str | None:
    if margin is None:
        return None
    if 1 / (1 + margin) <= low90 and high90 <= 1 + margin:
        return "equivalent"
    return "different" if high < 1 / (1 + margin) or low > 1 + margin else "undecided"


def outlying(values: np.ndarray) -> np.ndarray:
    """Iglewicz and Hoaglin, down the columns."""
    away = values - np.median(values, axis=0)
    mad, mean = np.median(np.abs(away), axis=0), np.abs(away).mean(0)
    with np.errstate(all="ignore"):
        z = np.where(mad > 0, special.ndtri(0.75) * away / mad, math.sqrt(2 / math.pi) * away / mean)
    return np.abs(z) > 3.5


def effective_n(n: int, lag1: float) -> float:
    """Independent values that so many are worth: Bayley and Hammersley, lag 1 freed of its bias."""
    r = min(0.95, max(0.0, (n * lag1 + 1) / (n - 4)))
    return max(1.0, n * (1 - r) / (1 + r))
