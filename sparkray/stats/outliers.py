"""Outliers by median and MAD, which outliers do not distort, and the comparison without them.

An outlier is reported, never dropped silently: the comparison counts every pair, with the result without outliers beside it.
"""

from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, estimated, log_scale
from sparkray.stats.samples import Values, Vector, median, paired_logs, sample

BOUND = 3.5
_LEAST = 5
_LEAST_RATIO = 2
# MAD over sd of a normal distribution: its upper quartile.
_MAD_OF_NORMAL = 0.6744897501960817
# Mean absolute deviation over sd of a normal distribution: sqrt(2/pi).
_MEAN_DEVIATION_OF_NORMAL = 0.7978845608028654


@dataclass(frozen=True)
class WithAndWithout:
    """A paired ratio with every pair, and without those whose log ratio is an outlier.

    Attributes:
        every: With every pair.
        without: Without the outliers; the same where there are none.
        dropped: Places of the outliers among the pairs.
    """

    every: Ratio
    without: Ratio | NotEstimable
    dropped: tuple[int, ...]


def modified_z(values: Values, scale: float | None = None) -> Vector | NotEstimable:
    """Distance of each value from the median, in robust standard deviations: 0.6745 (x - median) / MAD.

    Iglewicz and Hoaglin (1993), "How to Detect and Handle Outliers", who call a value beyond 3.5 an outlier.
    Where more than half of the values are alike the MAD is 0, and the mean absolute deviation serves in its place.

    Args:
        values: Shape (n,), at least 5.
        scale: The size of the numbers that the values were computed from, whose rounding is no spread; their own by
            default.

    Returns:
        Shape (n,), without unit; all 0 where all values are alike.
    """
    checked = sample(values, _LEAST)
    if isinstance(checked, NotEstimable):
        return checked
    away = checked - median(checked)
    rounding = 4 * np.finfo(np.float64).eps * (float(np.abs(checked).max()) if scale is None else scale)
    distance = np.abs(away)
    mad, mean_deviation = median(distance), float(distance.mean())
    if mad > rounding:
        return np.asarray(_MAD_OF_NORMAL * away / mad)
    if mean_deviation > rounding:
        return np.asarray(_MEAN_DEVIATION_OF_NORMAL * away / mean_deviation)
    return np.zeros(len(checked))


def outlying(values: Values, bound: float = BOUND) -> tuple[int, ...] | NotEstimable:
    """The places of the values whose modified z is beyond the bound."""
    scores = modified_z(values)
    return scores if isinstance(scores, NotEstimable) else _beyond(scores, bound)


def with_and_without(a: Values, b: Values, bound: float = BOUND) -> WithAndWithout | NotEstimable:
    """The paired ratio b/a with and without the pairs whose log ratio is an outlier.

    The log ratio decides, since a block that is odd in both arms alike leaves the comparison whole.

    Args:
        a: Values of the reference arm, one a block, shape (n,), above 0, at least 5.
        b: Values of the other arm in the same blocks.
        bound: In modified z.
    """
    logs = paired_logs(a, b, _LEAST)
    if isinstance(logs, NotEstimable):
        return logs
    values = np.concatenate([a, b])
    every, scores = estimated(logs, values), modified_z(logs, log_scale(values))
    if isinstance(every, NotEstimable):
        return every
    if isinstance(scores, NotEstimable):
        return scores
    dropped = _beyond(scores, bound)
    return WithAndWithout(every, _ratio(np.delete(logs, dropped), values) if dropped else every, dropped)


def _ratio(logs: Vector, values: Vector) -> Ratio | NotEstimable:
    few = len(logs) < _LEAST_RATIO
    return NotEstimable.of("few_without_outliers", n=len(logs)) if few else estimated(logs, values)


def _beyond(scores: Vector, bound: float) -> tuple[int, ...]:
    return tuple(int(place) for place in np.flatnonzero(np.abs(scores) > bound))
