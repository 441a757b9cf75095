"""Shapiro and Wilk's test of normality for many samples at once.

Royston (1995), "Remark AS R94", Appl. Statist. 44, as in SciPy, which takes one sample at a time: a study judges hundreds of
samples, a simulation a hundred thousand. SciPy's p differs by a share of up to 1e-7: it approximates the normal tail.
"""

from functools import lru_cache

import numpy as np

from sparkray.stats import special
from sparkray.stats.samples import Vector

LEAST, MOST = 3, 5000
_SMALL = 11
# The least W of three values.
_LEAST_OF_THREE = 0.75
_FIRST = (-2.706056, 4.434685, -2.07119, -0.147981, 0.221157, 0.0)
_SECOND = (-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, 0.0)
_GAMMA = (0.459, -2.273)
_SMALL_MEAN = (-0.0006714, 0.025054, -0.39978, 0.544)
_SMALL_SD = (-0.0020322, 0.062767, -0.77857, 1.3822)
_MEAN = (0.0038915, -0.083751, -0.31082, -1.5861)
_SD = (0.0030302, -0.082676, -0.4803)


def shapiro_p(samples: Vector) -> Vector:
    """The p-value of normality of each sample.

    Args:
        samples: Shape (samples, n), n from 3 to 5000; no sample all alike.
    """
    n = samples.shape[1]
    ordered = np.sort(samples, axis=1)
    centred = ordered - np.mean(ordered, axis=1, keepdims=True)
    w = np.minimum((centred @ _weights(n)) ** 2 / np.sum(centred**2, axis=1), 1.0)
    if n == LEAST:
        return np.asarray(6 / np.pi * (np.arcsin(np.sqrt(np.maximum(w, _LEAST_OF_THREE))) - np.pi / 3))
    with np.errstate(divide="ignore"):
        y = np.log1p(-w)
    if n <= _SMALL:
        gamma = np.polyval(_GAMMA, n)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (-np.log(gamma - y) - np.polyval(_SMALL_MEAN, n)) / np.exp(np.polyval(_SMALL_SD, n))
        return np.asarray(np.where(y >= gamma, 0.0, special.ndtr(-z)))
    log_n = np.log(n)
    return np.asarray(special.ndtr(-(y - np.polyval(_MEAN, log_n)) / np.exp(np.polyval(_SD, log_n))))


@lru_cache(maxsize=64)
def _weights(n: int) -> Vector:
    """The weights of the ordered values, shape (n,)."""
    if n == LEAST:
        return np.array([-np.sqrt(0.5), 0.0, np.sqrt(0.5)])
    m = special.ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    squares, u = float(m @ m), 1 / np.sqrt(n)
    last = np.polyval(_FIRST, u) + m[-1] / np.sqrt(squares)
    weights = m.copy()
    if n > 5:  # noqa: PLR2004 - from here on the second weight has its own polynomial
        before = np.polyval(_SECOND, u) + m[-2] / np.sqrt(squares)
        rest = (squares - 2 * m[-1] ** 2 - 2 * m[-2] ** 2) / (1 - 2 * last**2 - 2 * before**2)
        weights /= np.sqrt(rest)
        weights[-2], weights[1] = before, -before
    else:
        weights /= np.sqrt((squares - 2 * m[-1] ** 2) / (1 - 2 * last**2))
    weights[-1], weights[0] = last, -last
    return np.asarray(weights)
