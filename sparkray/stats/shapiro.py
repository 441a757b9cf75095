"""Is a sample normal? The W test of Shapiro and Wilk, in Royston's form.

Shapiro and Wilk (1965), "An analysis of variance test for normality (complete samples)", Biometrika 52; weights and p after
Royston (1992), "Approximating the Shapiro-Wilk W-test for non-normality", Statistics and Computing 2, and Royston (1995),
algorithm AS R94, Applied Statistics 44, whose polynomials stand below. SciPy has the same algorithm, which takes a hundred
times as long a sample, since weights depend on n alone and are kept here.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy import special

from sparkray.stats.samples import Vector

LEAST, MOST = 3, 5000
"""How many values the polynomials were fitted for."""
_FEW = 5
_SMALL = 11
_FIRST = (0.0, 0.221157, -0.147981, -2.07119, 4.434685, -2.706056)
_SECOND = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)
_GAMMA = (-2.273, 0.459)
_SMALL_MEAN = (0.544, -0.39978, 0.025054, -6.714e-4)
_SMALL_SD = (1.3822, -0.77857, 0.062767, -0.0020322)
_MEAN = (-1.5861, -0.31082, -0.083751, 0.0038915)
_SD = (-0.4803, -0.082676, 0.0030302)
_CENTRAL = 0.42
_CENTRE_OVER = (2.50662823884, -18.61500062529, 41.39119773534, -25.44106049637)
_CENTRE_UNDER = (1.0, -8.4735109309, 23.08336743743, -21.06224101826, 3.13082909833)
_TAIL_OVER = (-2.78718931138, -2.29796479134, 4.85014127135, 2.32121276858)
_TAIL_UNDER = (1.0, 3.54388924762, 1.63706781897)
_NEVER = 1e-99
_OF_THREE = math.asin(math.sqrt(0.75))


def shapiro_wilk(values: Vector) -> tuple[float, float]:
    """W (up to 1) and the p-value of normality.

    Args:
        values: Shape (n,), 3 to 5000 finite values, not all alike. Any unit: W does not depend on it.
    """
    ordered = np.sort(values)
    centred = (ordered - np.mean(ordered)) / (ordered[-1] - ordered[0])
    weights = _weights(len(ordered))
    root = math.sqrt(float(centred @ centred))
    along = float(weights @ centred)
    missing = max(0.0, (root - along) * (root + along) / root**2)  # 1 - W, without the cancellation
    return 1 - missing, _p(missing, len(ordered))


@lru_cache(maxsize=256)
def _weights(n: int) -> Vector:
    """The coefficients of the ordered values, shape (n,), antisymmetric, their squares adding up to 1."""
    if n == LEAST:
        return np.array([-math.sqrt(0.5), 0.0, math.sqrt(0.5)])
    scores = _scores(n)
    total, step = float(scores @ scores), 1 / math.sqrt(n)
    ends = [scores[-1] / math.sqrt(total) + polyval(step, _FIRST)]
    if n > _FEW:
        ends.append(scores[-2] / math.sqrt(total) + polyval(step, _SECOND))
    k = len(ends)
    rest = total - 2 * float(np.sum(scores[-k:] ** 2))
    weights = scores * math.sqrt((1 - 2 * sum(end * end for end in ends)) / rest)
    weights[-k:], weights[:k] = ends[::-1], [-end for end in ends]
    return np.asarray(weights)


def _scores(n: int) -> Vector:
    """Expected normal order statistics after Blom (1958), shape (n,), ascending.

    The normal quantile is that of AS R94 itself, AS 111 of Beasley and Springer (1977), Applied Statistics 26, good to 1e-9:
    a better one would give other digits than every other implementation does.
    """
    central = (np.arange(1, n + 1) - 0.375) / (n + 0.25) - 0.5
    square = central**2
    inner = central * polyval(square, _CENTRE_OVER) / polyval(square, _CENTRE_UNDER)
    root = np.sqrt(-np.log(0.5 - np.abs(central)))
    outer = np.sign(central) * polyval(root, _TAIL_OVER) / polyval(root, _TAIL_UNDER)
    return np.asarray(np.where(np.abs(central) <= _CENTRAL, inner, outer))


def _p(missing: float, n: int) -> float:
    """The chance of a W as small, 1 - W being `missing`: a transform of it is nearly normal."""
    if n == LEAST:
        return max(0.0, 6 / math.pi * (math.asin(math.sqrt(1 - missing)) - _OF_THREE))
    if missing == 0:
        return 1.0
    y = math.log(missing)
    if n <= _SMALL:
        gamma = polyval(n, _GAMMA)
        if y >= gamma:
            return _NEVER
        y, mean, sd = -math.log(gamma - y), polyval(n, _SMALL_MEAN), math.exp(polyval(n, _SMALL_SD))
    else:
        mean, sd = polyval(math.log(n), _MEAN), math.exp(polyval(math.log(n), _SD))
    return float(special.ndtr(-(y - mean) / sd))
