"""The noncentral t distribution: where a t statistic lies when there is an effect.

By quadrature, since SciPy's (1.17) gives NaN or a wrong tail from a noncentrality of about 37 on, a memory effect of 20 GiB
with a spread of 0.1 GiB has one of hundreds, and the power of two one-sided tests needs the same quadrature.
"""

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from sparkray.stats import special
from sparkray.stats.samples import Vector

_NODES = 80
_TAIL = 1e-18
_MOST_SECANTS, _ROOT, _LEAST_CHANCE = 40, 1e-12, 1e-16
# A normal deviate beyond it has a probability below 1e-18.
_WIDEST_Z = 9.0


def cdf(t: ArrayLike, df: float, noncentrality: ArrayLike) -> Vector:
    """P(T <= t) for T = (Z + noncentrality) / S, Z standard normal, S^2 a chi-square of df over df, independent.

    Whichever of Z and S varies less, in units of t, is integrated out by its own distribution function and the other by
    Gauss-Legendre quadrature, so the integrand is smooth whatever the size of t. Error below 1e-10.

    Args:
        t: Finite, of any shape.
        df: Degrees of freedom, at least 1.
        noncentrality: Finite, one each or one for all.
    """
    values, centres = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(noncentrality, np.float64))
    below = values < 0
    values, centres = np.abs(values), np.where(below, -centres, centres)
    near, found = values <= math.sqrt(2 * df), np.empty(values.shape)
    for inner, places in ((_over_chi, near), (_over_normal, ~near)):
        if places.any():
            found[places] = np.clip(inner(values[places, None], df, centres[places, None]), 0.0, 1.0)
    return np.asarray(np.where(below, 1 - found, found))


def interval(t: ArrayLike, df: float, level: float = 0.95) -> tuple[Vector, Vector]:
    """The noncentralities that an observed t does not contradict: the distribution function inverted.

    Cumming and Finch (2001), "A primer on the understanding, use, and calculation of confidence intervals that are based
    on central and noncentral distributions". The bounds leave (1 - level) / 2 in each tail. At least 2 degrees of freedom.
    """
    tail = (1 - level) / 2
    return _noncentrality(t, df, 1 - tail), _noncentrality(t, df, tail)


def _noncentrality(t: ArrayLike, df: float, probability: float) -> Vector:
    """The noncentrality under which P(T <= t) is that probability."""
    values = np.asarray(t, np.float64)
    spread = np.sqrt(1 + values * values / (2 * df))
    near = values - special.ndtri(probability) * spread  # Johnson and Welch's (1940) normal approximation
    return root(lambda centre: cdf(values, df, centre), probability, near, near + spread / 8)


def root(chance: Callable[[Vector], Vector], probability: float, first: ArrayLike, second: ArrayLike) -> Vector:
    """Where a chance is that probability, by secants of normal deviates, in which a tail is nearly a straight line.

    Args:
        chance: Rises or falls; shape to the same shape.
        probability: Between 0 and 1.
        first: Near to the place, of any shape.
        second: As near, another.
    """
    wanted = float(special.ndtri(probability))

    def deviate(places: Vector) -> Vector:  # a chance that is rounded to 0 or 1 has a finite one
        return np.asarray(special.ndtri(np.clip(chance(places), _LEAST_CHANCE, 1 - _LEAST_CHANCE)) - wanted)

    before, now = np.asarray(first, np.float64), np.asarray(second, np.float64)
    most, off_before = 16 * np.abs(now - before), deviate(before)
    for _ in range(_MOST_SECANTS):
        off = deviate(now)
        rise = off - off_before
        step = np.where(rise == 0, 0.0, -off * (now - before) / np.where(rise == 0, 1.0, rise))
        step = np.clip(step, -most, most)
        before, off_before, now = now, off, now + step
        if np.all(np.abs(step) <= _ROOT * (1 + np.abs(now))):
            break
    return np.asarray(now)


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
    low, high = special.gammaincinv(df / 2, _TAIL), special.gammainccinv(df / 2, _TAIL)
    return math.sqrt(2 * float(low) / df), math.sqrt(2 * float(high) / df)


def _over_chi(t: Vector, df: float, noncentrality: Vector) -> Vector:
    places, weights = _deviations(df)
    return np.asarray(special.ndtr(t * places - noncentrality) @ weights)


def _over_normal(t: Vector, df: float, noncentrality: Vector) -> Vector:
    nodes, weights = _legendre()
    low = np.clip(-noncentrality, -_WIDEST_Z, _WIDEST_Z)
    half = (_WIDEST_Z - low) / 2
    z = low + half * (nodes + 1)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    chances = density * special.gammaincc(df / 2, df / 2 * ((z + noncentrality) / t) ** 2)
    return np.asarray(special.ndtr(-noncentrality[:, 0]) + half[:, 0] * (chances @ weights))


@cache
def _legendre() -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights
