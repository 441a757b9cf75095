"""Intervals by resampling: BCa, which corrects the percentile interval for bias and skewness.

Efron (1987), "Better bootstrap confidence intervals", J. Am. Statist. Assoc. 82; for two samples the acceleration sums
over both, as in Efron and Tibshirani (1993), "An Introduction to the Bootstrap", equation 15.36, and in SciPy.

By hand: `scipy.stats.bootstrap` draws anew for every comparison, of which a study of ten models has 540. A resample of n
values is n counts that sum to n, so the resampled means of all samples of n values are one matrix product. The counts depend
on n and the seed alone: comparisons share them, each interval being valid by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import (
    Estimate,
    Values,
    Vector,
    alike,
    exponential,
    of_ordered,
    together,
    too_few,
    two_samples,
)

RESAMPLES = 10_000
_LEAST = 3
# An end of an interval with fewer resamples than this beyond it rests on too few: then there are so many times more.
_LEAST_BEYOND, _MORE = 100, 20
# Resamples this near to the sample's value, in standard deviations, are the sample again; half of them count as below.
_TIE = 1e-9
# A quantile is looked for among the values between two of every so many, at least that many places away from it.
_THINNED, _LEAST_REACH = 50, 8
# So many resampled means (1.6 MB) are looked at together: what fits into a cache takes a fifth less time.
_AT_ONCE = 200_000
# So many cells of a matrix of counts (8 MB) are in memory at once; matrices with more cells than the next are not kept.
_CELLS, _MOST_KEPT = 1_000_000, 10_000_000


def ratio_of_means(
    a: Values, b: Values, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Estimate | NotEstimable:
    """mean(b) / mean(a) of independent samples with its BCa interval, taken on the log scale.

    On the log scale the interval for a/b is exactly the inverse of the one for b/a.

    Args:
        a: Values of the reference arm, shape (n_a,), above 0, at least 3.
        b: Values of the other arm, shape (n_b,), likewise.
        seed: The same seed gives the same interval.
        resamples: How many.
        level: Confidence.
    """
    return ratios_of_means([(a, b)], seed=seed, resamples=resamples, level=level)[0]


def ratios_of_means(
    pairs: Sequence[tuple[Values, Values]], *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> list[Estimate | NotEstimable]:
    """`ratio_of_means` of many pairs of arms at once."""
    every = [_arms(a, b) for a, b in pairs]
    # the arm with the lesser mean draws from the first stream, so that swapped arms invert the result
    swapped = [not isinstance(arms, NotEstimable) and np.mean(arms[0]) > np.mean(arms[1]) for arms in every]
    ordered = [arms[::-1] if back else arms for arms, back in zip(every, swapped, strict=True)]  # type: ignore[index]
    found = together(ordered, partial(_log_ratios, seed=seed, resamples=resamples, level=level))
    return [
        one if isinstance(one, NotEstimable) else exponential(_turned(one) if back else one)
        for one, back in zip(found, swapped, strict=True)
    ]


def _arms(a: Values, b: Values) -> tuple[Vector, Vector] | NotEstimable:
    arms = two_samples(a, b, _LEAST, positive=True)
    if not isinstance(arms, NotEstimable) and alike(arms[0]) and alike(arms[1]):
        return NotEstimable("arms_alike")
    return arms


def _turned(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (estimate.high, estimate.low))
    return Estimate(-estimate.value, low, high)


def _log_ratios(
    first: Vector, second: Vector, *, seed: int, resamples: int, level: float
) -> list[Estimate | NotEstimable]:
    """ln(mean(second) / mean(first)) of each row."""
    arms = first, second
    observed = [np.log(np.mean(arm, axis=1)) for arm in arms]
    jackknifed = [np.log(_means_without_one(arm)) for arm in arms]
    influence = [observed[1][:, None] - jackknifed[0], jackknifed[1] - observed[0][:, None]]

    def resampled(rows: NDArray[np.int64], count: int) -> Vector:
        means = [resampled_means(arm[rows], count, (seed, stream)) for stream, arm in enumerate(arms)]
        return np.asarray(np.log(means[1] / means[0]))

    return enough_resamples(resampled, observed[1] - observed[0], influence, resamples=resamples, level=level)


def mean_interval(values: Vector, *, seed: int = 0, level: float = 0.95) -> Estimate | NotEstimable:
    """The mean of values, shape (n,), at least 3 and not all alike, with its BCa interval."""
    return mean_intervals([values], seed=seed, level=level)[0]


def mean_intervals(samples: Sequence[Vector], *, seed: int = 0, level: float = 0.95) -> list[Estimate | NotEstimable]:
    """`mean_interval` of many samples at once."""

    def checked(values: Vector) -> tuple[Vector] | NotEstimable:
        if len(values) < _LEAST:
            return too_few(len(values), _LEAST, "pair")
        return NotEstimable("logs_alike") if alike(values) else (values,)

    return together([checked(values) for values in samples], partial(_means, seed=seed, level=level))


def _means(samples: Vector, *, seed: int, level: float) -> list[Estimate | NotEstimable]:
    means = np.mean(samples, axis=1)
    centred = samples - means[:, None]  # so that rounding of a great mean is none of the resamples

    def resampled(rows: NDArray[np.int64], count: int) -> Vector:
        return resampled_means(centred[rows], count, (seed, 0))

    influence = [-centred / (samples.shape[1] - 1)]
    found = enough_resamples(resampled, np.zeros(len(means)), influence, resamples=RESAMPLES, level=level)
    return [
        Estimate(mean, mean + one.low, mean + one.high)
        if isinstance(one, Estimate) and one.low is not None and one.high is not None
        else one
        for mean, one in zip(means.tolist(), found, strict=True)
    ]


def enough_resamples(
    resampled: Callable[[NDArray[np.int64], int], Vector],
    observed: Vector,
    jackknifed: Sequence[Vector],
    *,
    resamples: int,
    level: float,
) -> list[Estimate | NotEstimable]:
    """The BCa interval of each sample, with more resamples where an end has too few beyond it.

    One wild value makes the distribution skewed, and pushes an end so far out that a handful of resamples fix it.

    Args:
        resampled: The statistic of that many resamples of samples by their places: shape (places, resamples).
        observed: The statistic of each sample, shape (samples,).
        jackknifed: As in `bca`, a row a sample.
        resamples: How many at first.
        level: Confidence.
    """
    found: dict[int, Estimate | NotEstimable] = {}

    def estimate(every: NDArray[np.int64], count: int, least: float) -> None:
        for rows in _parts(every, count):
            distribution = resampled(rows, count)
            bounds = _bounds(distribution, observed[rows], [each[rows] for each in jackknifed], level=level)
            for row, one, ends in zip(rows.tolist(), distribution, bounds.T, strict=True):
                if not min(ends[0], 1 - ends[1]) * count < least:
                    found[row] = _between(one, float(observed[row]), ends)

    estimate(np.arange(len(observed)), resamples, _LEAST_BEYOND)
    estimate(np.array([row for row in range(len(observed)) if row not in found], np.int64), _MORE * resamples, -1.0)
    return [found[row] for row in range(len(observed))]


def _parts(places: NDArray[np.int64], count: int) -> Iterator[NDArray[np.int64]]:
    size = max(1, _AT_ONCE // count)
    return (places[start : start + size] for start in range(0, len(places), size))


def bca(
    distribution: Vector, observed: float, jackknifed: Sequence[Vector], *, level: float = 0.95
) -> Estimate | NotEstimable:
    """The BCa interval from a bootstrap distribution.

    Args:
        distribution: The statistic of each resample, shape (resamples,).
        observed: The statistic of the sample.
        jackknifed: One vector for each sample, shape (n_j,): the statistic without its i-th value.
        level: Confidence.

    Returns:
        The estimate, or that the resamples all lie on one side of the observed value, where the bias has no measure.
    """
    return bcas(distribution[None, :], np.array([observed]), [each[None, :] for each in jackknifed], level=level)[0]


def bcas(
    distributions: Vector, observed: Vector, jackknifed: Sequence[Vector], *, level: float = 0.95
) -> list[Estimate | NotEstimable]:
    """`bca` of many samples at once, a row each."""
    bounds = _bounds(distributions, observed, jackknifed, level=level)
    return [_between(*one) for one in zip(distributions, observed.tolist(), bounds.T, strict=True)]


def _bounds(distribution: Vector, observed: Vector, jackknifed: Sequence[Vector], *, level: float) -> Vector:
    """The quantiles of each row that are the ends of its interval, shape (2, rows); NaN where the bias has no measure."""
    rounding = _TIE * np.std(distribution, axis=1)
    below = np.count_nonzero(distribution < (observed - rounding)[:, None], axis=1)
    not_above = np.count_nonzero(distribution <= (observed + rounding)[:, None], axis=1)
    share = (below + not_above) / (2 * distribution.shape[1])
    bias = special.ndtri(np.where((share > 0) & (share < 1), share, np.nan))
    deviates = bias + special.ndtri([[(1 - level) / 2], [(1 + level) / 2]])
    return np.asarray(special.ndtr(bias + deviates / (1 - _acceleration(jackknifed) * deviates)))


def _between(distribution: Vector, observed: float, bounds: Vector) -> Estimate | NotEstimable:
    """The estimate with the quantiles of a distribution as its ends."""
    if np.isnan(bounds[0]):
        return NotEstimable("one_side")
    return Estimate(observed, *(_quantile(distribution, float(bound)) for bound in bounds))


def _quantile(values: Vector, q: float) -> float:
    """`of_ordered` of values in any order: only those near the quantile are put in order, as 200,000 take long to sort."""
    last = len(values) - 1
    place = q * last
    at = [int(place), min(int(place) + 1, last)]
    thinned, middle = np.sort(values[::_THINNED]), at[0] // _THINNED
    reach = _LEAST_REACH + len(thinned) // 40
    low, high = thinned[max(0, middle - reach)], thinned[min(middle + reach, len(thinned) - 1)]
    near = values[(values >= low) & (values <= high)]
    before = int(np.count_nonzero(values < low))
    if not before <= at[0] <= at[1] < before + len(near):  # the thinned values are not like the others
        near, before = values, 0
    found = np.partition(near, [each - before for each in sorted(set(at))])
    return of_ordered(found[[each - before for each in at]], place - at[0])


def resampled_means(samples: Vector, resamples: int, stream: tuple[int, int]) -> Vector:
    """The means of every resample.

    Args:
        samples: Shape (n,) or (k, n); the same places are drawn of every sample.
        resamples: How many.
        stream: Seed, and the number of the arm, so that two arms of one comparison are drawn independently.

    Returns:
        Shape (resamples,) or (k, resamples).
    """
    n = samples.shape[-1]
    counts = _kept_counts(n, resamples, stream) if n * resamples <= _MOST_KEPT else _counts(n, resamples, stream)
    scaled = samples / n
    means = [scaled @ part.astype(np.float64).T for part in counts]
    return means[0] if len(means) == 1 else np.concatenate(means, axis=-1)


def _acceleration(jackknifed: Sequence[Vector]) -> Vector:
    """The skewness of the jackknifed influences over six; Efron and Tibshirani (1993), equation 14.15."""
    influences = [(np.mean(each, axis=1, keepdims=True) - each) * (1 - 1 / each.shape[1]) for each in jackknifed]
    squares, cubes = (np.sum([np.sum(each**power, axis=1) for each in influences], axis=0) for power in (2, 3))
    return np.asarray(cubes / np.where(squares > 0, 6 * squares**1.5, 1.0))


def _means_without_one(samples: Vector) -> Vector:
    """The mean without the i-th value, for each i: sums from both ends, so that no great value swallows the small ones."""
    none = np.zeros((len(samples), 1))
    before, after = np.cumsum(samples[:, :-1], axis=1), np.cumsum(samples[:, :0:-1], axis=1)[:, ::-1]
    sums = np.concatenate([none, before], axis=1) + np.concatenate([after, none], axis=1)
    return np.asarray(sums / (samples.shape[1] - 1), dtype=np.float64)


@lru_cache(maxsize=16)
def _kept_counts(n: int, resamples: int, stream: tuple[int, int]) -> list[NDArray[np.unsignedinteger]]:
    return list(_counts(n, resamples, stream))


def _counts(n: int, resamples: int, stream: tuple[int, int]) -> Iterator[NDArray[np.unsignedinteger]]:
    """How often each of n values is drawn in each resample, in parts: shape (some, n), rows sum to n."""
    generator, rows = np.random.default_rng(stream), max(1, _CELLS // n)
    for done in range(0, resamples, rows):
        part = min(rows, resamples - done)
        drawn = generator.integers(0, n, (part, n))
        drawn += np.arange(part)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=part * n).reshape(part, n).astype(np.min_scalar_type(n))
