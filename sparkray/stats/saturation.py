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
from typing import Literal

import numpy as np

from sparkray.stats.samples import Vector

_LEAST_BLOCKS = 3
_LEAST_STEPS = 4
"""Two parameters and a place to bend need at least two steps on each side."""
_GAIN = 0.5
"""Share of a line's squared error that a bend must remove: less is not a knee but noise at the largest load."""
_RESAMPLES, _LEVEL = 2000, 0.95
# `beyond_last`: throughput still rises at the largest load; `below_first`: it does not rise beyond the smallest.
Code = Literal["too_few_blocks", "too_few_steps", "no_value", "beyond_last", "below_first"]


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


@dataclass(frozen=True)
class NoKnee:
    """Why there is no knee, as a code."""

    code: Code


@dataclass(frozen=True)
class KneeRatio:
    """Knee of one arm over that of another. A bound is None where resampled blocks leave it open."""

    ratio: float
    low: float | None
    high: float | None


def knee(
    loads: Vector, throughput: Vector, *, seed: int = 0, resamples: int = _RESAMPLES, level: float = _LEVEL
) -> Knee | NoKnee:
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
    loads, throughput = _checked(loads, throughput)
    lacking = _lacking(loads, throughput)
    if lacking is not None:
        return lacking
    fitted = _fit(loads, _means(np.log(throughput), _counts(len(throughput), seed, resamples)))
    best, capacity = fitted[0]
    if not math.isfinite(best):
        return NoKnee("beyond_last")
    if best <= loads[0]:
        return NoKnee("below_first")
    low, high = _ends(fitted[1:, 0], level)
    least, most = _ends(fitted[1:, 1], level)
    return Knee(
        load=float(best),
        low=low,
        high=high if math.isfinite(high) else None,
        capacity=float(capacity),
        capacity_low=least,
        capacity_high=most if math.isfinite(most) else None,
    )


def knee_ratio(
    loads: Vector, reference: Vector, arm: Vector, *, seed: int = 0, resamples: int = _RESAMPLES, level: float = _LEVEL
) -> KneeRatio | None:
    """The knee of an arm over that of its reference, with an interval over blocks that are resampled together.

    Args:
        loads: As for `knee`, those that both arms have.
        reference: As for `knee`; row k is of the same block as row k of `arm`.
        arm: Likewise.
        seed: The same seed gives the same interval.
        resamples: How many.
        level: Confidence.

    Returns:
        The ratio; None where one of the two has no knee.

    Raises:
        ValueError: As for `knee`, or the two differ in their blocks.
    """
    loads, reference = _checked(loads, reference)
    loads, arm = _checked(loads, arm)
    if len(reference) != len(arm):
        raise ValueError(f"{len(reference)} blocks of the reference, {len(arm)} of the arm")
    if _lacking(loads, reference) is not None or _lacking(loads, arm) is not None:
        return None
    counts = _counts(len(arm), seed, resamples)
    base, mine = (_fit(loads, _means(np.log(one), counts))[:, 0] for one in (reference, arm))
    if not all(loads[0] < one[0] < math.inf for one in (base, mine)):
        return None
    with np.errstate(invalid="ignore"):
        ratios = mine / base
    unknown = np.isnan(ratios)  # neither has a knee in that resample: nothing bounds their ratio
    low, _ = _ends(np.where(unknown, 0.0, ratios)[1:], level)
    _, high = _ends(np.where(unknown, np.inf, ratios)[1:], level)
    return KneeRatio(float(ratios[0]), low if low > 0 else None, high if math.isfinite(high) else None)


def _checked(loads: Vector, throughput: Vector) -> tuple[Vector, Vector]:
    loads, throughput = np.asarray(loads, dtype=np.float64), np.asarray(throughput, dtype=np.float64)
    if throughput.shape[1:] != loads.shape or np.any(np.diff(loads, prepend=0.0) <= 0):
        raise ValueError(f"loads {loads.tolist()} must ascend from above 0 and fit throughput of {throughput.shape}")
    return loads, throughput


def _counts(blocks: int, seed: int, resamples: int) -> Vector:
    """How often each block is in the sample itself and in each resample, shape (1 + resamples, blocks)."""
    drawn = np.random.default_rng(seed).multinomial(blocks, [1 / blocks] * blocks, resamples)
    return np.vstack([np.ones(blocks), drawn])


def _ends(values: Vector, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def _lacking(loads: Vector, throughput: Vector) -> NoKnee | None:
    if len(throughput) < _LEAST_BLOCKS:
        return NoKnee("too_few_blocks")
    if len(loads) < _LEAST_STEPS:
        return NoKnee("too_few_steps")
    if np.any(throughput <= 0) or np.any(np.isinf(throughput)) or np.all(np.isnan(throughput), axis=0).any():
        return NoKnee("no_value")
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
