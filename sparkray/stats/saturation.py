"""Saturation point of a server: the load from which its throughput no longer rises.

Throughput follows the asymptotic bounds of a queueing system, min(a * load, capacity): a line through the origin while no
request waits, a constant once the bottleneck is busy (Denning & Buzen 1978, ACM Computing Surveys 10:225-261). The load is
a rate (then a is 1 for a server that keeps up) or a concurrency (then 1/a is the response time alone). The knee is
where the two meet, capacity / a, the saturation point N* of operational analysis. Fitted by least squares of the logarithms,
since throughput varies in proportion; intervals are percentiles over resampled blocks, which keeps the steps of a block
together.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Vector, too_few

_LEAST_BLOCKS = 3
_LEAST_STEPS = 4
"""Two parameters and a place to bend need at least two steps on each side."""
_GAIN = 0.5
"""Share of a line's squared error that a bend must remove: less is not a knee but noise at the largest load."""


@dataclass(frozen=True)
class Knee:
    """Where one arm saturates.

    Attributes:
        load: The knee, in units of the load.
        low: Lower bound of its interval.
        high: Upper bound; None where resampled blocks still rise at the largest load.
        capacity: Throughput beyond it, in units of the throughput.
        capacity_low: Lower bound of its interval.
        capacity_high: Upper bound; None as for `high`.
    """

    load: float
    low: float
    high: float | None
    capacity: float
    capacity_low: float
    capacity_high: float | None


def knee(
    loads: Vector, throughput: Vector, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Knee | NotEstimable:
    """The knee of one arm with its interval.

    Args:
        loads: The steps, ascending, shape (m,).
        throughput: One row per block and one value per step, shape (n, m), above 0. NaN where a step was not measured, as
            after one that over-saturated the server; each step needs at least one value.
        seed: The same seed gives the same interval.
        resamples: How many.
        level: Confidence.

    Raises:
        ValueError: The shapes do not fit, or the loads do not ascend from above 0.
    """
    loads, throughput = np.asarray(loads, dtype=np.float64), np.asarray(throughput, dtype=np.float64)
    if throughput.shape[1:] != loads.shape or np.any(np.diff(loads, prepend=0.0) <= 0):
        raise ValueError(f"loads {loads.tolist()} must ascend from above 0 and fit throughput of {throughput.shape}")
    lacking = _lacking(loads, throughput)
    if lacking is not None:
        return lacking
    counts = np.random.default_rng(seed).multinomial(
        len(throughput), [1 / len(throughput)] * len(throughput), resamples
    )
    fitted = _fit(loads, _means(np.log(throughput), np.vstack([np.ones(len(throughput)), counts])))
    best, capacity = fitted[0]
    if not math.isfinite(best):
        return NotEstimable(f"throughput still rises at the largest load, {loads[-1]:g}: the knee lies beyond it")
    if best <= loads[0]:
        return NotEstimable(f"throughput does not rise beyond the smallest load, {loads[0]:g}: the knee lies below it")
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(fitted[1:, 0], tails, method="inverted_cdf")
    least, most = np.quantile(fitted[1:, 1], tails, method="inverted_cdf")
    return Knee(
        load=float(best),
        low=float(low),
        high=float(high) if math.isfinite(high) else None,
        capacity=float(capacity),
        capacity_low=float(least),
        capacity_high=float(most) if math.isfinite(most) else None,
    )


def _lacking(loads: Vector, throughput: Vector) -> NotEstimable | None:
    if len(throughput) < _LEAST_BLOCKS:
        return too_few(len(throughput), _LEAST_BLOCKS, "block")
    if len(loads) < _LEAST_STEPS:
        return too_few(len(loads), _LEAST_STEPS, "step")
    if np.any(throughput <= 0) or np.any(np.isinf(throughput)):
        return NotEstimable("a throughput is not a finite number above 0")
    if np.all(np.isnan(throughput), axis=0).any():
        return NotEstimable("a step has no value in any block")
    return None


def _means(logs: Vector, counts: Vector) -> Vector:
    """Mean of each step over the blocks of each resample; a step that a resample lacks takes the mean over all blocks."""
    there = ~np.isnan(logs)
    weights = counts @ there
    sums = counts @ np.where(there, logs, 0.0)
    return np.where(weights > 0, sums / np.maximum(weights, 1), np.nanmean(logs, axis=0))


def _fit(loads: Vector, means: Vector) -> Vector:
    """(knee, capacity) of each row of step means, shape (r, 2); infinite where a line alone fits as well."""
    logs, m = np.log(loads), len(loads)
    slopes = means - logs
    line = slopes.mean(axis=1)
    alone = ((slopes - line[:, None]) ** 2).sum(axis=1)
    best, knees, capacities = np.full(len(means), np.inf), np.full(len(means), np.inf), np.full(len(means), np.inf)
    for rising in range(1, m):
        a, top = slopes[:, :rising].mean(axis=1), means[:, rising:].mean(axis=1)
        errors = ((means - np.minimum(a[:, None] + logs, top[:, None])) ** 2).sum(axis=1)
        better = errors < best
        best = np.where(better, errors, best)
        knees, capacities = np.where(better, np.exp(top - a), knees), np.where(better, np.exp(top), capacities)
    bends = (best <= _GAIN * alone) & (knees < loads[-1])
    return np.column_stack([np.where(bends, knees, np.inf), np.where(bends, capacities, np.inf)])
