"""Exact distributions of rank statistics where every order is equally likely, each computed once and kept.

Sums of positive terms alone, so that no tail loses digits.
"""

import math
from functools import lru_cache

import numpy as np

from sparkray.stats.samples import Vector


@lru_cache(maxsize=64)
def inversions(n: int) -> Vector:
    """P(at most k inversions) in a random order of n values, shape (n (n - 1) / 2 + 1,).

    The j-th value comes before 0 to j - 1 of those that are smaller, each with the same chance: Kendall (1938), "A new
    measure of rank correlation", Biometrika 30.
    """
    chances = np.ones(1)
    for j in range(2, n + 1):
        chances = np.convolve(chances, np.full(j, 1 / j))
    return np.asarray(np.cumsum(chances))


@lru_cache(maxsize=64)
def wins(n_a: int, n_b: int) -> Vector:
    """P(at least u pairs in which a is the greater) for u = 0 ... n_a n_b, shape (n_a n_b + 1,).

    The recursion of Mann and Whitney (1947), Annals of Mathematical Statistics 18, over the values in ascending order: the
    i-th of all, if it is the k-th of its arm, is greater than i - k of the other.
    """
    few, many = sorted((n_a, n_b))
    counts = np.zeros((few + 1, few * many + 1))
    counts[0, 0] = 1
    for i in range(1, few + many + 1):
        for k in range(min(i, few), max(1, i - many) - 1, -1):
            counts[k, i - k :] += counts[k - 1, : counts.shape[1] - (i - k)]
    return np.asarray(np.cumsum(counts[few][::-1])[::-1] / math.comb(few + many, few))


def tie_sizes(values: Vector) -> Vector:
    """How often each value of a sample occurs that occurs more than once."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return np.asarray(counts[counts > 1])
