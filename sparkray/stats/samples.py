"""Checks of a sample before a statistic is computed, Student's t, and the shape of an estimate.

A check that fails is an answer (`NotEstimable`), not an error: a study with a failed cell must still be analysed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable, special

Vector = NDArray[np.float64]
Values = Sequence[float] | Vector
T = TypeVar("T")
_LARGEST = 1e75
# Beyond these the square of a ratio of differences may leave the range of a double.
_SMALLEST = 1 / _LARGEST
_LARGEST_LOG = 700.0
_ROUNDED = 1e-12
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided interval, 95 % by default.

    `low` and `high` are None where the sample is too small for an interval though not for the number.
    """

    value: float
    low: float | None
    high: float | None


def too_few(n: int, least: int, what: str = "value") -> NotEstimable:
    """The reason "n values are too few for this statistic"."""
    return NotEstimable.of("too_few", n=n, what=what, least=least)


def sample(values: Values, least: int = 1, *, positive: bool = False) -> Vector | NotEstimable:
    """The values as a vector of shape (n,), or why they are no sample.

    Args:
        values: Numbers of one unit. None counts as not finite.
        least: How many are needed.
        positive: Whether a logarithm will be taken.

    Raises:
        ValueError: `values` is not one-dimensional.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"an array of shape {vector.shape}: a sample is one-dimensional")
    if len(vector) < least:
        return too_few(len(vector), least)
    if not (np.abs(vector) <= _LARGEST).all():
        return NotEstimable("not_finite")
    if positive and not (vector > 0).all():
        return NotEstimable("no_logarithm")
    return vector


def two_samples(
    a: Values,
    b: Values,
    least: int = 2,
    *,
    positive: bool = False,
    paired: bool = False,
    names: tuple[str, str] = ("first_arm", "second_arm"),
) -> tuple[Vector, Vector] | NotEstimable:
    """Both arms as vectors of shapes (n_a,) and (n_b,), or why one of them is no sample (`sample`).

    `paired` arms have their values of one block at the same place, and so as many. `names` are for the reason.
    """
    if paired and len(a) != len(b):
        return NotEstimable.of("unequal", a=len(a), b=len(b))
    first, second = sample(a, least, positive=positive), sample(b, least, positive=positive)
    if isinstance(first, NotEstimable):
        return first.at(names[0])
    if isinstance(second, NotEstimable):
        return second.at(names[1])
    return first, second


def paired_logs(a: Values, b: Values, least: int = 2) -> Vector | NotEstimable:
    """The log ratios ln(b/a), shape (pairs,), of two arms whose values of one block are at the same place."""
    arms = two_samples(a, b, least, positive=True, paired=True)
    return arms if isinstance(arms, NotEstimable) else np.asarray(np.log(arms[1]) - np.log(arms[0]), dtype=np.float64)


def together(
    samples: Sequence[tuple[Vector, ...] | NotEstimable], compute: Callable[..., Sequence[T]]
) -> list[T | NotEstimable]:
    """What is computed of each sample: those whose vectors have the same lengths at once, as NumPy takes as long for one.

    Args:
        samples: One vector or several each, or why a sample is none, which is then its result.
        compute: Takes a matrix for each vector, a row a sample, and gives a result a row.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    found: list[T | NotEstimable] = [one if isinstance(one, NotEstimable) else NotEstimable("") for one in samples]
    for place, one in enumerate(samples):
        if not isinstance(one, NotEstimable):
            places.setdefault(tuple(map(len, one)), []).append(place)
    for alike_long in places.values():
        matrices = [np.stack(vectors) for vectors in zip(*(samples[place] for place in alike_long), strict=True)]
        for place, result in zip(alike_long, compute(*matrices), strict=True):
            found[place] = result
    return found


def t_interval(value: float, error: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Student's (1908) interval of an estimate with that standard error."""
    half = critical_t(df, level) * error
    return value - half, value + half


@lru_cache(maxsize=4096)
def critical_t(df: float, level: float = 0.95) -> float:
    """The quantile of Student's t that bounds a two-sided interval of that level."""
    return float(special.stdtrit(df, 0.5 + level / 2))


def sd_of(values: Vector, mean: float) -> float:
    """The standard deviation about their mean, n-1 in its denominator, of at least 2 values, shape (n,)."""
    away = values - mean
    return math.sqrt(float(away @ away) / (len(values) - 1))


def welch_df(part_a: float, n_a: int, part_b: float, n_b: int) -> float:
    """Degrees of freedom of Welch (1947) and Satterthwaite (1946), of parts s^2/n, not both 0.

    In this form, since squares of tiny parts would vanish.
    """
    share = part_a / (part_a + part_b)
    return 1 / (share**2 / (n_a - 1) + (1 - share) ** 2 / (n_b - 1))


def pooled_variance(a: Vector, b: Vector) -> float:
    """The variance inside both arms, which together have 3 values or more."""
    squares = [float(away @ away) for away in (a - a.mean(), b - b.mean())]
    return sum(squares) / (len(a) + len(b) - 2)


def ratio_interval(mean_log: float, error: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """`t_interval` on the log scale, turned back."""
    low, high = t_interval(mean_log, error, df, level)
    return from_log(low), from_log(high)


def t_p(value: float, error: float, df: float) -> float:
    """Two-sided p of Student's t test against 0; 1 or 0 where the estimate has no error."""
    return 2 * float(special.stdtr(df, -abs(value / error))) if error else float(value == 0)


def exponential(estimate: Estimate) -> Estimate:
    """An estimate on the log scale as a ratio."""
    low, high = (None if bound is None else from_log(bound) for bound in (estimate.low, estimate.high))
    return Estimate(from_log(estimate.value), low, high)


def least_n(enough: Callable[[int], bool], most: int = 100_000) -> int | None:
    """The least n from 2 on that is enough, by doubling and halving; None beyond `most`."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def alike(values: Vector, scale: float | None = None) -> bool:
    """Whether all values are the same to the precision of a double.

    Args:
        values: At least one number.
        scale: The size of the numbers that the values were computed from; their own by default.
    """
    low, high = float(np.min(values)), float(np.max(values))
    size = max(high, -low) if scale is None else scale
    return high - low <= max(_ROUNDING * size, _SMALLEST)


def rounding(sizes: Vector) -> Vector:
    """What values that were computed from numbers of these sizes may differ by and still be `alike`."""
    return np.asarray(np.maximum(_ROUNDING * sizes, _SMALLEST))


def varies(values: Vector) -> bool:
    """Whether values of a file differ by more than what their writer rounded: a share of 1e-12, or 1e-12 below 1."""
    return len(values) > 1 and float(np.ptp(values)) > _ROUNDED * max(1.0, float(np.max(np.abs(values))))


def of_ordered(ordered: Vector, q: float) -> float:
    """The quantile (type 7) of values in ascending order, shape (n,); NumPy's own function sorts, and asks much else."""
    place = q * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    low, high, share = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)]), place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)  # noqa: PLR2004 - a half


def median(values: Vector) -> float:
    """The median of at least one value."""
    return of_ordered(np.sort(values), 0.5)


def medians(rows: Vector) -> Vector:
    """The median of each row, shape (rows, 1)."""
    ordered, last = np.sort(rows, axis=1), rows.shape[1] - 1
    low, high = ordered[:, last // 2, None], ordered[:, (last + 1) // 2, None]
    return np.asarray(high - (high - low) * 0.5 if last % 2 else low)


def from_log(logarithm: float) -> float:
    """The exponential, held between 1e-304 and 1e304: the interval of two wild values has no other end."""
    return math.exp(min(max(logarithm, -_LARGEST_LOG), _LARGEST_LOG))
