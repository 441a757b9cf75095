"""The paired ratio when blocks nest in machines or days.

Blocks of one machine share that machine's quirks, so they carry less information about machines than their number
suggests. What may be generalised over is the cluster: its mean log ratio is one observation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import RESAMPLES, bcas, resampled_means
from sparkray.stats.paired import Ratio, estimated
from sparkray.stats.regression import pooled
from sparkray.stats.samples import Estimate, Values, Vector, alike, exponential, paired_logs, together, too_few

_LEAST_CLUSTERS = 2
# With fewer clusters a bootstrap of them has too few distinct resamples, and a variance between them too few values.
LEAST_RESAMPLED = 5
# Comparisons whose resamples are in memory together.
_AT_ONCE = 50


@dataclass(frozen=True)
class ClusteredRatio:
    """A ratio b/a over clusters of blocks.

    Attributes:
        pairs: Blocks.
        clusters: Machines or days.
        ratio: From the cluster means; its `n` counts clusters, so the verdict's pairs needed are clusters too.
        bootstrap: Clusters resampled as a whole, each with the weight of its blocks; BCa.
        intercept: The fixed part of a model with a random intercept for each cluster.
    """

    pairs: int
    clusters: int
    ratio: Ratio
    bootstrap: Estimate | NotEstimable
    intercept: Estimate | NotEstimable


def clustered_ratio(
    a: Values, b: Values, clusters: Sequence[object], *, seed: int = 0, resamples: int = RESAMPLES
) -> ClusteredRatio | NotEstimable:
    """The ratio with an interval that holds over other machines or days.

    Student's t over the cluster means of log ratios is the random-effects analysis for clusters of like size, and stays
    honest for unlike ones: Donner and Klar (2000), "Design and Analysis of Cluster Randomization Trials". The
    cluster bootstrap (Davison and Hinkley 1997, section 3.8) drops normality, and wants more clusters. The random intercept
    (Searle, Casella and McCulloch 1992, chapter 3) weighs clusters of unlike size; its variances are those of the moments
    (DerSimonian and Laird 1986), its interval is that of Hartung and Knapp (2001).

    Args:
        a: Values of the reference arm, one a block, shape (n,), above 0.
        b: Values of the other arm in the same blocks.
        clusters: The machine or day of each block, any names; at least 2 different ones.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
    """
    return clustered_ratios([(a, b, clusters)], seed=seed, resamples=resamples)[0]


def clustered_ratios(
    every: Sequence[tuple[Values, Values, Sequence[object]]], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[ClusteredRatio | NotEstimable]:
    """`clustered_ratio` of many comparisons at once."""
    nested = [_nested(*one) for one in every]
    drawn = [one if isinstance(one, NotEstimable) else _to_resample(one) for one in nested]
    bootstraps = together(drawn, partial(_bootstraps, seed=seed, resamples=resamples))
    return [
        one if isinstance(one, NotEstimable) else _clustered(one, bootstrap)
        for one, bootstrap in zip(nested, bootstraps, strict=True)
    ]


@dataclass(frozen=True)
class _Nested:
    """Log ratios, which cluster each is of, sums and sizes of the clusters, and the ratio from their means."""

    logs: Vector
    which: NDArray[np.int64]
    sums: Vector
    sizes: Vector
    ratio: Ratio


def _nested(a: Values, b: Values, clusters: Sequence[object]) -> _Nested | NotEstimable:
    logs = paired_logs(a, b)
    if isinstance(logs, NotEstimable):
        return logs
    if len(clusters) != len(logs):
        return NotEstimable.of("unnamed_clusters", n=len(logs), names=len(clusters))
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    if len(names) < _LEAST_CLUSTERS:
        return NotEstimable("one_cluster")
    which = np.array([names[name] for name in clusters])
    sums, sizes = np.bincount(which, weights=logs).astype(np.float64), np.bincount(which).astype(np.float64)
    ratio = estimated(sums / sizes, np.concatenate([a, b]))
    return ratio if isinstance(ratio, NotEstimable) else _Nested(logs, which, sums, sizes, ratio)


def _clustered(one: _Nested, bootstrap: Estimate | NotEstimable) -> ClusteredRatio:
    intercept = _random_intercept(one.logs, one.which)
    return ClusteredRatio(len(one.logs), len(one.sums), one.ratio, bootstrap, intercept)


def _to_resample(one: _Nested) -> tuple[Vector, Vector] | NotEstimable:
    means = one.sums / one.sizes
    if len(means) < LEAST_RESAMPLED:
        return too_few(len(means), LEAST_RESAMPLED, "cluster")
    if alike(means, scale=max(1.0, float(np.max(np.abs(means))))):
        return NotEstimable("clusters_alike")
    return one.sums, one.sizes


def _bootstraps(sums: Vector, sizes: Vector, *, seed: int, resamples: int) -> list[Estimate | NotEstimable]:
    found: list[Estimate | NotEstimable] = []
    for start in range(0, len(sums), _AT_ONCE):
        sum_of, size_of = sums[start : start + _AT_ONCE], sizes[start : start + _AT_ONCE]
        drawn = resampled_means(np.concatenate([sum_of, size_of]), resamples, (seed, 0))
        total, size = np.sum(sum_of, axis=1, keepdims=True), np.sum(size_of, axis=1, keepdims=True)
        jackknifed = (total - sum_of) / (size - size_of)
        found += bcas(drawn[: len(sum_of)] / drawn[len(sum_of) :], (total / size)[:, 0], [jackknifed])
    return [one if isinstance(one, NotEstimable) else exponential(one) for one in found]


def _random_intercept(logs: Vector, which: NDArray[np.int64]) -> Estimate | NotEstimable:
    """The mean log ratio where each cluster has its own, turned back; within clusters one variance for all."""
    sizes = np.bincount(which).astype(np.float64)
    if len(sizes) < LEAST_RESAMPLED:
        return too_few(len(sizes), LEAST_RESAMPLED, "cluster")
    if len(logs) == len(sizes):
        return NotEstimable("one_block_a_cluster")
    means = np.bincount(which, weights=logs) / sizes
    within = float(np.sum((logs - means[which]) ** 2)) / (len(logs) - len(sizes))
    if within <= 0:
        return NotEstimable("within_clusters_alike")
    model = pooled(means, np.sqrt(within / sizes))
    return model if isinstance(model, NotEstimable) else exponential(model[0].mean)
