"""The noncentral t distribution: where a t statistic lies when there is an effect.

By quadrature, since SciPy's (1.17) gives NaN or a wrong tail from a noncentrality of about 37 on, a memory effect of 20 GiB
with a spread of 0.1 GiB has one of hundreds, and the power of two one-sided tests needs the same quadrature.
"""

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import scipy

from sparkray.stats.samples import Vector

_NODES = 80
_TAIL = 1e-18
# A normal deviate beyond it has a probability below 1e-18.
_WIDEST_Z = 9.0


def cdf(t: float, df: float, noncentrality: float) -> float:
    """P(T <= t) for T = (Z + noncentrality) / S, Z standard normal, S^2 a chi-square of df over df, independent.

    Whichever of Z and S varies less, in units of t, is integrated out by its own distribution function and the other by
    Gauss-Legendre quadrature, so the integrand is smooth whatever the size of t. Error below 1e-10.

    Args:
        t: Finite.
        df: Degrees of freedom, at least 1.
        noncentrality: Finite.
    """
    if t < 0:
        return 1.0 - cdf(-t, df, -noncentrality)
    inner = _over_chi if t <= math.sqrt(2 * df) else _over_normal
    return min(1.0, max(0.0, inner(t, df, noncentrality)))


def interval(t: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """The noncentralities that an observed t does not contradict: the distribution function inverted.

    Cumming and Finch (2001), "A primer on the understanding, use, and calculation of confidence intervals that are based
    on central and noncentral distributions". The bounds leave (1 - level) / 2 in each tail.
    """
    tail = (1 - level) / 2
    return _noncentrality(t, df, 1 - tail), _noncentrality(t, df, tail)


def _noncentrality(t: float, df: float, probability: float) -> float:
    """The noncentrality under which P(T <= t) is that probability, by bracketing and Brent's method."""
    deviate, spread = float(scipy.special.ndtri(probability)), math.sqrt(1 + t * t / (2 * df))
    near = t - deviate * spread  # Johnson and Welch's (1940) normal approximation
    low, high, step = near - spread / 4, near + spread / 4, spread / 2
    while cdf(t, df, low) < probability:
        low, step = low - step, step * 2
    while cdf(t, df, high) > probability:
        high, step = high + step, step * 2
    return float(scipy.optimize.brentq(lambda nc: cdf(t, df, nc) - probability, low, high, xtol=1e-12, rtol=1e-12))


def over_deviation(function: Callable[[Vector], Vector], df: float, most: float = math.inf) -> float:
    """The mean of a function of S, the estimated over the true standard deviation, where S is at most `most`; else of 0.

    Args:
        function: Smooth on the scale on which S varies; shape (n,) to shape (n,).
        df: Degrees of freedom of the estimate, at least 1.
        most: Where the function ends.
    """
    places, weights = _deviations(df) if math.isinf(most) else _deviations_up_to(df, most)
    return float(weights @ function(places)) if len(places) else 0.0


@lru_cache(maxsize=256)
def _deviations(df: float) -> tuple[Vector, Vector]:
    """All values of S that matter and their weights, which many means share."""
    return _deviations_up_to(df, math.inf)


def _deviations_up_to(df: float, most: float) -> tuple[Vector, Vector]:
    """Nodes of the quadrature over S, and their weights times the density; none where S cannot be that small."""
    low, high = _range(df)
    high = min(most, high)
    if high <= low:
        return np.empty(0), np.empty(0)
    nodes, weights = _legendre()
    half = (high - low) / 2
    s = low + half * (nodes + 1)
    constant = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    return s, half * weights * np.exp(constant + (df - 1) * np.log(s) - df * s * s / 2)


@lru_cache(maxsize=256)
def _range(df: float) -> tuple[float, float]:
    """Where S lies but for a chance of 1e-18 on each side."""
    low, high = scipy.special.gammaincinv(df / 2, _TAIL), scipy.special.gammainccinv(df / 2, _TAIL)
    return math.sqrt(2 * float(low) / df), math.sqrt(2 * float(high) / df)


def _over_chi(t: float, df: float, noncentrality: float) -> float:
    return over_deviation(lambda s: np.asarray(scipy.special.ndtr(t * s - noncentrality)), df)


def _over_normal(t: float, df: float, noncentrality: float) -> float:
    low = min(max(-noncentrality, -_WIDEST_Z), _WIDEST_Z)

    def integrand(z: Vector) -> Vector:
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return np.asarray(density * scipy.special.gammaincc(df / 2, df / 2 * ((z + noncentrality) / t) ** 2))

    return float(scipy.special.ndtr(-noncentrality)) + _integral(integrand, low, _WIDEST_Z)


def _integral(integrand: Callable[[Vector], Vector], low: float, high: float) -> float:
    nodes, weights = _legendre()
    half = (high - low) / 2
    return half * float(weights @ integrand(low + half * (nodes + 1)))


@cache
def _legendre() -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights
