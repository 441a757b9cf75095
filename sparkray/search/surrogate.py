"""What the evaluations together say of every configuration: effects of levels and of pairs of levels. Pure.

The log ratio of a configuration is taken for the sum of an effect of each level that is not the baseline's and of each
pair of such levels, so that every run speaks of all its levels, as the runs of a factorial design do. Most effects are
nil, some small, a few are ruinous: effects have Student t priors (a normal one would shrink small gains by the size of
ruinous losses), those of pairs with a smaller scale. A t prior is a normal one with a variance of its own for each
effect; the variances are found by expectation maximisation, the effects are then normal given them (Tipping 2001, "Sparse
Bayesian learning and the relevance vector machine", J. Mach. Learn. Res. 1; Gelman et al. 2008, Ann. Appl. Stat. 2, on
t priors). The baseline's own run is noise that all log ratios of one instance share, and has an effect too, else what
is its luck would seem to be everybody's gain. So a choice among many noisy means is drawn to what its levels gave
elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparkray.spec.space import BASELINE
from sparkray.stats.samples import Vector

Matrix = NDArray[np.float64]
Places = NDArray[np.int64]
_SCALES = (0.02, 0.007)
"""Of the effect of a level and of a pair, in log ratios."""
_DEGREES = 1.0
_ROUNDS = 12
_OWN = 0.002
"""Sd of what a configuration has beyond levels and pairs."""


@dataclass(frozen=True)
class Observation:
    """One log ratio of a configuration (label by factor), by the place of its instance, and the noise of its run (sd)."""

    choices: Mapping[str, str]
    step: int
    value: float
    error: float


class Surrogate:
    """Effects fitted to observations.

    Args:
        labels: Labels by factor, the baseline's first.
        observations: Any number; the baseline is at 0 by definition and need not be among them.
        baseline_error: Noise of one run of the baseline, sd of its logarithm.
    """

    def __init__(
        self, labels: Mapping[str, Sequence[str]], observations: Sequence[Observation], baseline_error: float
    ) -> None:
        self._places = {name: {label: place for place, label in enumerate(many)} for name, many in labels.items()}
        sizes = [len(many) for many in labels.values()]
        self._columns = (
            np.concatenate([[0], np.cumsum([size - 1 for size in sizes])])[:-1] if sizes else np.zeros(0, int)
        )
        self._levels = int(sum(size - 1 for size in sizes))
        factor_of = np.repeat(np.arange(len(sizes)), [size - 1 for size in sizes])
        first, second = np.triu_indices(self._levels, 1)
        apart = factor_of[first] != factor_of[second]
        self._first, self._second = first[apart], second[apart]
        scales = np.repeat(_SCALES, [self._levels, len(self._first)])
        self._seen = self._features(self.encode([o.choices for o in observations]))
        steps = np.array([o.step for o in observations], dtype=np.int64)
        own = np.diag(np.array([o.error**2 + _OWN**2 for o in observations]))
        self._noise = own + baseline_error**2 * (steps[:, None] == steps[None, :])
        self._values = np.array([o.value for o in observations])
        self._fit(scales)

    def encode(self, many: Sequence[Mapping[str, str]]) -> Places:
        """Configurations as places of labels, shape (configurations, factors)."""
        return np.array(
            [[places.get(choices.get(name, BASELINE), 0) for name, places in self._places.items()] for choices in many],
            dtype=np.int64,
        ).reshape(len(many), len(self._places))

    def predict(self, x: Places) -> tuple[Vector, Vector]:
        """Mean and sd of the true log ratio of configurations, shapes (n,), from places of labels (n, factors)."""
        features = self._features(x)
        mean = features @ self._effects
        scaled = features * self._variances
        cross = scaled @ self._seen.T
        variance = np.sum(scaled * features, axis=1) - np.sum((cross @ self._inverse) * cross, axis=1)
        return np.asarray(mean), np.sqrt(np.maximum(variance, 0.0))

    def _features(self, x: Places) -> Matrix:
        """1 for each level and each pair of levels that a configuration has, shape (n, features)."""
        levels = np.zeros((len(x), self._levels))
        rows, factors = np.nonzero(x)
        levels[rows, self._columns[factors] + x[rows, factors] - 1] = 1.0
        return np.hstack([levels, levels[:, self._first] * levels[:, self._second]])

    def _fit(self, scales: Vector) -> None:
        """Expectation maximisation: the variances from the effects' second moments, the effects from the variances."""
        seen = self._seen
        self._variances = scales**2
        for _ in range(_ROUNDS):
            self._solve()
            spread = self._variances - self._variances**2 * np.sum(seen * (self._inverse @ seen), axis=0)
            self._variances = (_DEGREES * scales**2 + self._effects**2 + spread) / (_DEGREES + 1)
        self._solve()

    def _solve(self) -> None:
        scaled = self._seen * self._variances
        self._inverse = np.asarray(np.linalg.inv(scaled @ self._seen.T + self._noise))
        self._effects = np.asarray(scaled.T @ (self._inverse @ self._values))


Score = Callable[[Vector, Vector], Vector]


def climbed(surrogate: Surrogate, sizes: Sequence[int], score: Score, starts: Places) -> Places:
    """From each start the best that changing one factor at a time reaches, shape (starts, factors).

    Args:
        surrogate: Gives mean and sd.
        sizes: Labels of each factor.
        score: (mean, sd) to what is to be highest.
        starts: Shape (starts, factors).
    """
    best = starts.copy()
    for row in range(len(best)):
        while True:
            around = _neighbours(best[row], sizes)
            scores = score(*surrogate.predict(around))
            top = int(np.argmax(scores))
            if top == 0 or scores[top] <= scores[0]:
                break
            best[row] = around[top]
    return best


def _neighbours(x: Places, sizes: Sequence[int]) -> Places:
    """A configuration and all that differ from it in one factor, itself first."""
    found = [x]
    for place, size in enumerate(sizes):
        for label in range(size):
            if label != x[place]:
                other = x.copy()
                other[place] = label
                found.append(other)
    return np.array(found)
