"""Critical values of Student's t at interim analyses of a growing sample, exact for normal values of unknown variance.

Under the hypothesis at its bound, values less that bound are x_1, x_2, ... with mean 0 and any variance. With
S = x_1 + ... + x_n and Q = x_1^2 + ... + x_n^2 the statistic is a function of r_n = S / sqrt(Q) alone:
T_n = r_n sqrt((n - 1) / (n - r_n^2)). The direction of (x_1, ..., x_n) is uniform on the sphere, so r_n and Q are
independent, and with sqrt(Q_n) = R cos(a), x_(n+1) = R sin(a) the angle a has a density in proportion to cos(a)^(n-1) on
(-pi/2, pi/2), whence r_(n+1) = r_n cos(a) + sin(a): a Markov chain with a kernel in closed form. Its density among the
samples that have crossed no bound yet is carried from n to n + 1 by one-dimensional quadrature, as Armitage, McPherson &
Rowe (1969, J. R. Stat. Soc. A 132:235-244) do for a known variance. That the t-test allows it is Jennison & Turnbull's
(1991, Biometrika 78:133-141). The usual remedy, bounds for a known variance with quantiles of t put in, needs large n.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import special

Array = NDArray[np.float64]
# Two values leave one degree of freedom: no bound of use, and a density without bound at its ends.
LEAST_VALUES = 3
# One-sided; above it a bound can lie at |r| < 1, where the density of the next r is not smooth.
MOST_ALPHA = 0.15
_NODES = 400
_TINY, _NEAR = 1e-9, 1e-13
# |r| beyond it has a probability below 1e-15 once there are so many values that it can be reached.
_FAR = 9.0
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class _Survivors:
    """Density of r_n over [low, high] for the samples that crossed no bound before n.

    `spline` is the density times dr/du at r = low + (high - low) (1 - cos(u)) / 2, which is smooth where the density has
    square roots at its ends.
    """

    n: int
    low: float
    high: float
    spline: "_Spline"

    def _u(self, r: Array | float) -> Array:
        return np.asarray(np.arccos(np.clip(1 - 2 * (r - self.low) / (self.high - self.low), -1.0, 1.0)))

    def at(self, r: Array) -> Array:
        """The density; 0 outside."""
        u = self._u(r)
        slope = (self.high - self.low) * np.maximum(np.sin(u), 1e-12) / 2
        return np.where((r >= self.low) & (r <= self.high), self.spline.at(u) / slope, 0.0)

    def above(self, r: float) -> float:
        """Probability of r_n >= r without a crossing before."""
        return float(self.spline.integral(np.array(math.pi)) - self.spline.integral(self._u(r)))


@dataclass(frozen=True)
class _Spline:
    """Cubic pieces over evenly spaced places, the first half a step from 0: `scipy.interpolate` takes 0.5 s to import.

    `powers` are the coefficients of the powers 0 to 3 of the distance from the left end of a piece, `before` the integral
    up to it, shapes (4, pieces) and (pieces,).
    """

    step: float
    powers: Array
    before: Array

    def at(self, u: Array) -> Array:
        """The value."""
        piece, t = self._piece(u)
        a, b, c, d = self.powers[:, piece]
        return np.asarray(a + t * (b + t * (c + t * d)))

    def integral(self, u: Array) -> Array:
        """The integral from the first place."""
        piece, t = self._piece(u)
        return np.asarray(self.before[piece] + _integral(self.powers[:, piece], t))

    def _piece(self, u: Array) -> tuple[NDArray[np.int64], Array]:
        piece = np.clip((u / self.step - 0.5).astype(np.int64), 0, len(self.before) - 1)
        return piece, np.asarray(u - (piece + 0.5) * self.step)


def _integral(powers: Array, t: Array | float) -> Array:
    a, b, c, d = powers
    return np.asarray(t * (a + t * (b / 2 + t * (c / 3 + t * d / 4))))


def _spline(values: Array) -> _Spline:
    """The not-a-knot spline (de Boor 1978, "A Practical Guide to Splines", chapter IV) through `_NODES` values."""
    step, rise = math.pi / _NODES, np.diff(values) * _NODES / math.pi
    ends = (5 * rise[0] + rise[1]) / 2, (5 * rise[-1] + rise[-2]) / 2
    slopes = _slopes_of() @ np.concatenate([ends[:1], 3 * (rise[1:] + rise[:-1]), ends[1:]])
    left, right = slopes[:-1], slopes[1:]
    powers = np.stack([values[:-1], left, (3 * rise - 2 * left - right) / step, (left + right - 2 * rise) / step**2])
    return _Spline(step, powers, np.concatenate([[0.0], np.cumsum(_integral(powers, step))[:-1]]))


@lru_cache(maxsize=1)
def _slopes_of() -> Array:
    """What the rises between `_NODES` places are multiplied by for the slopes at them."""
    rows = 4 * np.eye(_NODES) + np.eye(_NODES, k=1) + np.eye(_NODES, k=-1)
    rows[0, :2], rows[-1, -2:] = (1, 2), (2, 1)
    return np.asarray(np.linalg.inv(rows))


def _survivors(n: int, low: float, high: float, density: Callable[[Array], Array]) -> _Survivors:
    u = (np.arange(_NODES) + 0.5) * math.pi / _NODES
    values = density(low + (high - low) * (1 - np.cos(u)) / 2) * (high - low) * np.sin(u) / 2
    return _Survivors(n, low, high, _spline(values))


def _first() -> _Survivors:
    """Two values: their direction is uniform on the circle."""
    end = math.sqrt(2)
    return _survivors(2, -end, end, lambda r: 1 / (math.pi * np.sqrt(2 - r**2)))


def _next(now: _Survivors, top: float) -> _Survivors:
    """From n to n + 1 values for the samples with r_n <= top.

    For r_(n+1) = y and the angle a, r_n = (y - sin(a)) / cos(a) must lie in [low, top]: an interval of a.
    """
    norm = math.exp(-float(special.betaln(now.n / 2, 0.5)))
    reach_up, reach_down = math.hypot(1, top), math.hypot(1, now.low)
    peak_up, peak_down = math.atan2(1, top), math.atan2(1, -now.low)
    widest = min(math.pi / 2, 10 / math.sqrt(now.n))

    def density(y: Array) -> Array:
        up = np.arccos(np.clip(y / reach_up, -1.0, 1.0))
        down = math.pi - np.arccos(np.clip(y / reach_down, -1.0, 1.0))
        left = np.clip(np.maximum(peak_up - up, -peak_down - down), -widest, widest)[:, None]
        right = np.clip(np.minimum(peak_up + up, -peak_down + down), -widest, widest)[:, None]
        half = np.maximum(right - left, 0.0) / 2
        angle = left + half * (1 + np.sin(_POINTS * math.pi / 2))
        weight = half * np.cos(_POINTS * math.pi / 2) * _WEIGHTS * math.pi / 2
        before = (y[:, None] - np.sin(angle)) / np.cos(angle)
        inside = now.at(np.clip(before, now.low, top))
        return np.asarray(np.sum(weight * norm * np.cos(angle) ** (now.n - 2) * inside, axis=1))

    return _survivors(now.n + 1, max(-reach_down, -_FAR), min(reach_up, _FAR), density)


@lru_cache(maxsize=256)
def critical_values(looks: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """Bounds of a one-sided t-test at each interim analysis: the chance of a crossing by then is what may be spent by then.

    Args:
        looks: Numbers of values at the interim analyses, ascending, from `LEAST_VALUES` on.
        spent: Probability of type I error that may be spent by each of them, ascending, at most `MOST_ALPHA`.

    Returns:
        One bound for T each; an increment too small to be integrated (below 1e-9) is spent without regard to those
        before it, which is conservative.

    Raises:
        ValueError: Looks or probabilities are not as asked.
    """
    steps = [b - a for a, b in pairwise((0, *looks))]
    if not looks or looks[0] < LEAST_VALUES or min(steps) < 1 or len(looks) != len(spent):
        raise ValueError(f"looks {looks} must ascend from {LEAST_VALUES}, with a probability for each of them")
    if not spent[0] > 0 or spent[-1] > MOST_ALPHA or any(b < a for a, b in pairwise(spent)):
        raise ValueError(f"probabilities {spent} must ascend from above 0 to at most {MOST_ALPHA}")
    now = _first()
    bounds: list[float] = []
    top, before = now.high, 0.0
    for n in range(LEAST_VALUES, looks[-1] + 1):
        now = _next(now, top)
        top = now.high
        if n in looks:
            upto = spent[len(bounds)]
            bound, top = _bound(now, upto - before)
            bounds.append(bound)
            before = upto
    return tuple(bounds)


def _bound(now: _Survivors, chance: float) -> tuple[float, float]:
    """The bound of T, and of r, that this share of all samples crosses now."""
    if chance < _TINY:
        bound = -float(special.stdtrit(now.n - 1, chance)) if chance > 0 else math.inf
        return bound, min(now.high, _r_of(bound, now.n))
    r, high = 0.0, now.high
    while high - r > _NEAR:
        middle = (r + high) / 2
        r, high = (middle, high) if now.above(middle) > chance else (r, middle)
    return r * math.sqrt((now.n - 1) / (now.n - r * r)), r


def _r_of(bound: float, n: int) -> float:
    return math.sqrt(n) if math.isinf(bound) else bound * math.sqrt(n / (n - 1 + bound * bound))
