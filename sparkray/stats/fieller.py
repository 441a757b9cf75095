"""One mean as a share of another, both measured in the same blocks: what part of a gap is left?

Fieller (1954), "Some problems in interval estimation", J. R. Statist. Soc. B 16: the interval holds the shares r for
which mean(part) - r mean(whole) does not differ from 0. It has two ends exactly when the whole differs from 0; without
that there is nothing to have a share of. SciPy has no such interval.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import Estimate, Values, Vector, alike, two_samples

_LEAST = 3
NO_WHOLE = NotEstimable("no_total")


@dataclass(frozen=True)
class Share(Estimate):
    """A share of the total in per cent; its interval always has both ends."""

    low: float
    high: float


def share(part: Values, whole: Values, level: float = 0.95) -> Share | NotEstimable:
    """mean(part) / mean(whole) in per cent, with Fieller's interval.

    Args:
        part: One a block, shape (n,), at least 3, e.g. the log ratios of the optimised container.
        whole: In the same blocks, e.g. those of the baseline container.
        level: Confidence.
    """
    both = two_samples(part, whole, _LEAST, paired=True)
    if isinstance(both, NotEstimable):
        return both
    if alike(both[1]):
        return NotEstimable("all_alike").at("total")
    return share_of_means(*both, level=level)


def share_of_means(part: Vector, whole: Vector, *, level: float = 0.95) -> Share | NotEstimable:
    """As `share`, of at least two blocks, without checks of the values."""
    n = len(part)
    a, b = float(np.mean(part)), float(np.mean(whole))
    (of_part, of_both), (_, of_whole) = np.cov(part, whole).tolist()
    quantile = float(special.stdtrit(n - 1, 0.5 + level / 2)) ** 2 / n
    square = b * b - quantile * of_whole  # of the quadratic in r, convex as the whole is not 0
    if square <= 0:
        return NO_WHOLE
    middle = a * b - quantile * of_both
    root = math.sqrt(max(middle * middle - square * (a * a - quantile * of_part), 0.0))
    return Share(100 * a / b, 100 * (middle - root) / square, 100 * (middle + root) / square)
