"""Outliers by median and MAD, which outliers do not distort, and the comparison without them.

An outlier is reported, never dropped silently: the comparison counts every pair, with the result without outliers beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, estimated, log_scale
from sparkray.stats.samples import Values, Vector, medians, paired_logs, sample, together

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
    return modified_zs([values], [scale])[0]


def modified_zs(samples: Sequence[Values], scales: Sequence[float | None] | None = None) -> list[Vector | NotEstimable]:
    """`modified_z` of many samples at once."""

    def checked(values: Values, scale: float | None) -> tuple[Vector, Vector] | NotEstimable:
        vector = sample(values, _LEAST)
        if isinstance(vector, NotEstimable):
            return vector
        return vector, np.array([float(np.max(np.abs(vector))) if scale is None else scale])

    sizes = scales or [None] * len(samples)
    return together([checked(*one) for one in zip(samples, sizes, strict=True)], _scores)


def _scores(rows: Vector, scales: Vector) -> list[Vector]:
    away = rows - medians(rows)
    distance = np.abs(away)
    mad, deviation = medians(distance), np.mean(distance, axis=1, keepdims=True)
    rounding = 4 * np.finfo(np.float64).eps * scales
    by_mad, by_deviation = mad > rounding, deviation > rounding
    of_deviation = np.where(
        by_deviation, _MEAN_DEVIATION_OF_NORMAL * away / np.where(by_deviation, deviation, 1.0), 0.0
    )
    return list(np.where(by_mad, _MAD_OF_NORMAL * away / np.where(by_mad, mad, 1.0), of_deviation))


def outlying(values: Values, bound: float = BOUND) -> tuple[int, ...] | NotEstimable:
    """The places of the values whose modified z is beyond the bound."""
    return outliers([values], bound)[0]


def outliers(samples: Sequence[Values], bound: float = BOUND) -> list[tuple[int, ...] | NotEstimable]:
    """`outlying` of many samples at once."""
    scores = modified_zs(samples)
    return [one if isinstance(one, NotEstimable) else _beyond(one, bound) for one in scores]


def with_and_without(a: Values, b: Values, bound: float = BOUND) -> WithAndWithout | NotEstimable:
    """The paired ratio b/a with and without the pairs whose log ratio is an outlier.

    The log ratio decides, since a block that is odd in both arms alike leaves the comparison whole.

    Args:
        a: Values of the reference arm, one a block, shape (n,), above 0, at least 5.
        b: Values of the other arm in the same blocks.
        bound: In modified z.
    """
    return with_and_without_many([(a, b)], bound)[0]


def with_and_without_many(
    pairs: Sequence[tuple[Values, Values]], bound: float = BOUND
) -> list[WithAndWithout | NotEstimable]:
    """`with_and_without` of many comparisons at once."""
    every = [paired_logs(a, b, _LEAST) for a, b in pairs]
    known = [place for place, logs in enumerate(every) if not isinstance(logs, NotEstimable)]
    values = {place: np.concatenate(pairs[place]) for place in known}
    scores = modified_zs([every[place] for place in known], [log_scale(values[place]) for place in known])  # type: ignore[misc]
    found = dict(zip(known, scores, strict=True))
    return [
        logs if isinstance(logs, NotEstimable) else _with_and_without(logs, values[place], found[place], bound)
        for place, logs in enumerate(every)
    ]


def _with_and_without(
    logs: Vector, values: Vector, scores: Vector | NotEstimable, bound: float
) -> WithAndWithout | NotEstimable:
    every = estimated(logs, values)
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
