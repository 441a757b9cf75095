"""What a group-sequential design does in the long run, by simulation: error rates, power, pairs until the end.

Normal log ratios are drawn as sums and sums of squares of the pairs between two interim analyses, which is all that a t
statistic needs; values of any other law are given as they are. The rule is that of `sparkray.stats.sequential`, for many
samples at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparkray.stats.sequential import Design, bounds, intervals_at

Array = NDArray[np.float64]
# Relative: what is left of a sum of squares about the mean where nothing varies.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Operating:
    """Shares of simulated experiments by verdict, and the mean number of pairs until each ended."""

    experiments: int
    equivalent: float
    different: float
    mean_pairs: float

    @property
    def undecided(self) -> float:
        """The share that no interim analysis decided."""
        return 1.0 - self.equivalent - self.different


@dataclass(frozen=True)
class Ends:
    """How each sample of many ended: arrays of the same length."""

    equivalent: NDArray[np.bool_]
    different: NDArray[np.bool_]
    pairs: NDArray[np.int64]

    @property
    def rates(self) -> Operating:
        """Shares and means."""
        return Operating(
            len(self.pairs), float(self.equivalent.mean()), float(self.different.mean()), float(self.pairs.mean())
        )


def sd_log_of(cv_pct: float) -> float:
    """The sd of the log ratio of two runs that vary log-normally with that CV in per cent each: sqrt(2 ln(1 + CV^2))."""
    return math.sqrt(2 * math.log1p((cv_pct / 100) ** 2))


def ends_of(design: Design, log_ratios: Array) -> Ends:
    """Where each sample ends. `log_ratios` has a row a sample and a column for each pair of the last interim analysis."""
    samples, margin, known = len(log_ratios), math.log1p(design.margin), bounds(design)
    equivalent, different = np.zeros(samples, dtype=bool), np.zeros(samples, dtype=bool)
    pairs = np.full(samples, design.looks[-1])
    for bound in known:
        left = np.flatnonzero(~(equivalent | different))
        values = log_ratios[left, : bound.n]
        varying = np.ptp(values, axis=1) > _ROUNDING * np.max(np.abs(values), axis=1)
        left, values = left[varying], values[varying]
        if not len(left):
            break
        found = intervals_at(bound, values, final=bound is known[-1])
        inside = found.decides & (found.ci90[0] >= -margin) & (found.ci90[1] <= margin)
        outside = found.decides & ((found.ci95[0] > margin) | (found.ci95[1] < -margin))
        equivalent[left[inside]], different[left[outside & ~inside]] = True, True
        pairs[left[inside | outside]] = bound.n
    return Ends(equivalent, different, pairs)


def operating(
    design: Design, *, sd_log: float, ratio: float = 1.0, experiments: int = 10_000, seed: int = 0
) -> Operating:
    """The operating characteristics for normal log ratios of that sd about the log of a true ratio.

    Of t alone, without the checks of its assumptions, which few normal samples fail.
    """
    rng = np.random.default_rng(seed)
    steps = np.diff([0, *design.looks])
    sums = rng.standard_normal((experiments, len(steps))) * np.sqrt(steps)
    within = 2 * rng.standard_gamma((steps - 1) / 2, (experiments, len(steps)))
    mean = math.log(ratio)
    squares = sd_log**2 * (within + sums**2 / steps) + 2 * mean * sd_log * sums + steps * mean**2
    return _ends(design, np.cumsum(sd_log * sums + steps * mean, axis=1), np.cumsum(squares, axis=1)).rates


def expected_pairs(
    designs: Sequence[Design], *, cv_pct: float, arms: int = 2, experiments: int = 4_000, seed: int = 0
) -> float:
    """Mean number of blocks until every metric of every arm is decided, when all arms are alike.

    Args:
        designs: One a metric, with the same interim analyses. Metrics count as independent, which overstates the number.
        cv_pct: CV of a run in per cent, of every metric.
        arms: Environments in a block, the first of them the reference of the others.
        experiments: How many are simulated.
        seed: Of the simulation.
    """
    rng = np.random.default_rng(seed)
    sd = sd_log_of(cv_pct) / math.sqrt(2)
    last = np.zeros(experiments, dtype=np.int64)
    for design in designs:
        runs = rng.standard_normal((arms, experiments, design.looks[-1])) * sd
        for other in range(1, arms):
            last = np.maximum(last, ends_of(design, runs[other] - runs[0]).pairs)
    return float(last.mean())


def _ends(design: Design, sums: Array, squares: Array) -> Ends:
    """The rule of `interim_verdict` for sums and sums of squares at the interim analyses, shape (samples, analyses)."""
    n = np.array(design.looks)
    known = bounds(design)
    mean = sums / n
    error = np.sqrt(np.maximum(squares - sums * mean, 0.0) / (n - 1) / n)
    margin = math.log1p(design.margin)
    inside = np.abs(mean) + np.array([bound.equivalence_t for bound in known]) * error <= margin
    outside = np.abs(mean) - np.array([bound.difference_t for bound in known]) * error > margin
    noisy = squares - sums * mean > _ROUNDING * squares  # pairs that are all alike have no interval
    inside, outside = inside & noisy, outside & noisy
    over = inside | outside
    number = np.where(over.any(axis=1), over.argmax(axis=1), len(n) - 1)
    rows = np.arange(len(number))
    return Ends(inside[rows, number], outside[rows, number], n[number])
