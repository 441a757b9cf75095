"""One mean as a share of another, both measured in the same blocks: what part of a gap is left?

Fieller (1954), "Some problems in interval estimation", J. R. Statist. Soc. B 16: the interval holds the shares r for
which mean(part) - r mean(whole) does not differ from 0. It has two ends exactly when the whole differs from 0; without
that there is nothing to have a share of.
"""

import math

import numpy as np
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Estimate, Values, alike, two_samples

_LEAST = 3


def share(part: Values, whole: Values, level: float = 0.95) -> Estimate | NotEstimable:
    """mean(part) / mean(whole) in per cent, with Fieller's interval.

    Args:
        part: One a block, shape (n,), at least 3, e.g. the log ratios of the optimised container.
        whole: In the same blocks, e.g. those of the baseline container.
        level: Confidence.
    """
    if len(part) != len(whole):
        return NotEstimable(f"{len(part)} values against {len(whole)}: both are needed in each block")
    both = two_samples(part, whole, _LEAST)
    if isinstance(both, NotEstimable):
        return both
    if alike(both[1]):
        return NotEstimable("the whole is alike in all blocks: no noise to build an interval from")
    n = len(both[0])
    a, b = float(np.mean(both[0])), float(np.mean(both[1]))
    (of_part, of_both), (_, of_whole) = np.cov(*both).tolist()
    quantile = float(special.stdtrit(n - 1, 0.5 + level / 2)) ** 2 / n
    square = b * b - quantile * of_whole
    if square <= 0:
        return NotEstimable("the whole does not differ from 0: there is nothing to have a share of")
    middle = a * b - quantile * of_both
    root = math.sqrt(max(middle * middle - square * (a * a - quantile * of_part), 0.0))
    return Estimate(100 * a / b, 100 * (middle - root) / square, 100 * (middle + root) / square)
