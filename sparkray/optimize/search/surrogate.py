"""What the results together say of every configuration: effects of levels and of pairs of levels. Pure.

The log ratio of a configuration is taken for the sum of an effect of each level that is not the baseline's and of each
pair of such levels, so that every run speaks of all its levels, as the runs of a factorial design do. Most effects are
nil, some small, a few are ruinous: effects have Student t priors (a normal one would shrink small gains by the size of
ruinous losses), those of pairs with a smaller scale. A t prior is a normal one with a variance of its own for each
effect; the variances are found by expectation maximisation, the effects are then normal given them (Tipping 2001, "Sparse
Bayesian learning and the relevance vector machine", J. Mach. Learn. Res. 1; Gelman et al. 2008, Ann. Appl. Stat. 2, on
t priors). So is the factor between the noise and what was known of it. The noise of the baseline's own run is shared by all
log ratios of one block, and has an effect too, else its luck would seem to be everybody's gain. So a choice among many
noisy means is drawn to what its levels gave elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparkray.optimize.search.feasible_space import Places
from sparkray.stats.samples import Vector

Matrix = NDArray[np.float64]
# Of the effect of a level and of a pair, in log ratios.
_SCALES = (0.02, 0.007)
_DEGREES = 1.0
_ROUNDS = 12
# Sd of what a configuration has beyond levels and pairs.
_OWN = 0.002


@dataclass(frozen=True)
class Observations:
    """Log ratios that were observed.

    Attributes:
        x: Places of labels, shape (n, axes).
        values: Log ratios, shape (n,).
        block: Which block each is of, any number; those of one block share a run of the baseline.
        error: Noise of one run, as far as it is known, sd of its logarithm, shape (n,).
        df: Degrees of freedom that this knowledge of the noise rests on.
    """

    x: Places
    values: Vector
    block: NDArray[np.int64]
    error: Vector
    df: float


class Surrogate:
    """Effects fitted to observations; the baseline is at 0 by definition and need not be among them.

    Args:
        sizes: Labels on each axis, the baseline's among them.
        observed: Any number.
    """

    def __init__(self, sizes: Sequence[int], observed: Observations) -> None:
        self._columns = np.concatenate([[0], np.cumsum([size - 1 for size in sizes])])[:-1].astype(np.int64)
        self._levels = int(sum(size - 1 for size in sizes))
        axis_of = np.repeat(np.arange(len(sizes)), [size - 1 for size in sizes])
        first, second = np.triu_indices(self._levels, 1)
        apart = axis_of[first] != axis_of[second]
        self._first, self._second = first[apart], second[apart]
        self._scales = np.repeat(_SCALES, [self._levels, len(self._first)])
        self._observed, self._values = self._features(observed.x), observed.values
        shared = np.outer(observed.error, observed.error) * (observed.block[:, None] == observed.block[None, :])
        self._known_noise = np.diag(observed.error**2 + _OWN**2) + shared
        self._fit(observed.df)

    def predict(self, x: Places) -> tuple[Vector, Vector]:
        """Mean and sd of the true log ratio of configurations, shapes (n,), from places of labels (n, axes)."""
        features = self._features(x)
        scaled = features * self._variances
        cross = scaled @ self._observed.T
        variance = np.sum(scaled * features, axis=1) - np.sum((cross @ self._inverse) * cross, axis=1)
        return features @ self.effects, np.sqrt(np.maximum(variance, 0.0))

    def value(self, x: Places, effects: Vector) -> Vector:
        """Log ratios if those were the effects (`effects`, or a draw), shape (n,)."""
        return self._features(x) @ effects

    def draw(self, rng: np.random.Generator) -> Vector:
        """Effects that are as likely as the data make them.

        By Matheron's rule: effects and data drawn from the prior, corrected by what the real data say otherwise.
        """
        prior = rng.normal(size=len(self._scales)) * np.sqrt(self._variances)
        noise = np.linalg.cholesky(self._noise) @ rng.normal(size=len(self._values)) if len(self._values) else 0.0
        wrong = self._values - self._observed @ prior - noise
        return np.asarray(prior + (self._observed * self._variances).T @ (self._inverse @ wrong))

    @property
    def noise_factor(self) -> float:
        """Variance of the noise over the known one."""
        return self._factor

    def _features(self, x: Places) -> Matrix:
        """1 for each level and each pair of levels that a configuration has, shape (n, features)."""
        levels = np.zeros((len(x), self._levels))
        rows, axes = np.nonzero(x)
        levels[rows, self._columns[axes] + x[rows, axes] - 1] = 1.0
        return np.hstack([levels, levels[:, self._first] * levels[:, self._second]])

    def _fit(self, df: float) -> None:
        """Expectation maximisation: the variances from the second moments, the effects from the variances."""
        observed, count = self._observed, len(self._values)
        self._variances, self._factor = self._scales**2, 1.0
        inverse_noise = np.linalg.inv(self._known_noise)
        for _ in range(_ROUNDS):
            self._solve()
            spread = self._variances - self._variances**2 * np.sum(observed * (self._inverse @ observed), axis=0)
            self._variances = (_DEGREES * self._scales**2 + self.effects**2 + spread) / (_DEGREES + 1)
            left = self._noise @ (self._inverse @ self._values)
            second = np.outer(left, left) + self._noise - self._noise @ self._inverse @ self._noise
            self._factor = float((df + np.sum(inverse_noise * second)) / (df + count))
        self._solve()

    def _solve(self) -> None:
        scaled = self._observed * self._variances
        self._noise = self._factor * self._known_noise
        self._inverse = np.asarray(np.linalg.inv(scaled @ self._observed.T + self._noise))
        self.effects = np.asarray(scaled.T @ (self._inverse @ self._values))


Score = Callable[[Places], Vector]


def hill_climb(
    start: Places, open_places: Sequence[Sequence[int]], settle: Callable[[Places], Places], score: Score
) -> Places:
    """From a configuration the best that changing one or two axes at a time reaches, shape (axes,).

    Args:
        start: Places of labels, shape (axes,).
        open_places: The places that may be taken on each axis.
        settle: Takes back what cannot act beside the rest.
        score: What is to be highest, of places of shape (n, axes).
    """
    best = settle(start[None, :])[0]
    while True:
        around = settle(neighbours(best, open_places))
        scores = score(around)
        top = int(np.argmax(scores))
        if scores[top] <= scores[0]:
            return np.asarray(best)
        best = around[top]


def neighbours(x: Places, open_places: Sequence[Sequence[int]]) -> Places:
    """A configuration and all that differ from it on one axis or two, itself first, the nearest before the others."""
    moves = [(axis, place) for axis, places in enumerate(open_places) for place in places if place != x[axis]]
    axes, places = np.array(moves, dtype=np.int64).reshape(-1, 2).T
    one, other = np.triu_indices(len(moves), 1)
    apart = axes[one] != axes[other]
    one, other = one[apart], other[apart]
    found = np.repeat(x[None, :], 1 + len(moves) + len(one), axis=0)
    single = 1 + np.arange(len(moves))
    found[single, axes] = places
    double = 1 + len(moves) + np.arange(len(one))
    found[double, axes[one]], found[double, axes[other]] = places[one], places[other]
    return found
