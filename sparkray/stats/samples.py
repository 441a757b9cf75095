"""What every statistic asks of its numbers before it begins, and the shape in which it gives an estimate back.

A check that fails is an answer (`NotEstimable`), not an error: a study with a failed cell must still be analysed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable

Vector = NDArray[np.float64]
Values = Sequence[float] | Vector
_LARGEST = 1e75
_SMALLEST = 1 / _LARGEST
"""Beyond these the square of a ratio of differences may leave the range of a double."""
_LARGEST_LOG = 700.0
_ROUNDED = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided interval, 95 % unless told otherwise.

    `low` and `high` are None where the sample is too small for an interval though not for the number.
    """

    value: float
    low: float | None
    high: float | None


def sample(values: Values, least: int = 1, *, positive: bool = False) -> Vector | NotEstimable:
    """The values as a vector of shape (n,), or why they are no sample.

    Args:
        values: Numbers of one unit. None counts as not finite.
        least: How many are needed.
        positive: Whether a logarithm will be taken.

    Raises:
        ValueError: `values` is not one-dimensional.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"an array of shape {found.shape}: a sample is one-dimensional")
    if len(found) < least:
        return NotEstimable(f"{len(found)} value{'s' if len(found) != 1 else ''}: at least {least} are needed")
    if not np.all(np.abs(found) <= _LARGEST):
        return NotEstimable("a value is not a finite number")
    if positive and not np.all(found > 0):
        return NotEstimable("a value is not above 0: it has no logarithm")
    return found


def two_samples(
    a: Values, b: Values, least: int = 2, *, positive: bool = False
) -> tuple[Vector, Vector] | NotEstimable:
    """Both arms as vectors of shapes (n_a,) and (n_b,), or why one of them is no sample (`sample`)."""
    first, second = sample(a, least, positive=positive), sample(b, least, positive=positive)
    if isinstance(first, NotEstimable):
        return NotEstimable(f"first arm: {first.reason}")
    if isinstance(second, NotEstimable):
        return NotEstimable(f"second arm: {second.reason}")
    return first, second


def paired_logs(a: Values, b: Values, least: int = 2) -> Vector | NotEstimable:
    """The log ratios ln(b/a), shape (pairs,), of two arms whose values of one block stand at the same place."""
    if len(a) != len(b):
        return NotEstimable(f"{len(a)} values against {len(b)}: pairs are needed")
    arms = two_samples(a, b, least, positive=True)
    if isinstance(arms, NotEstimable):
        return arms
    return np.asarray(np.log(arms[1]) - np.log(arms[0]), dtype=np.float64)


def alike(values: Vector, scale: float | None = None) -> bool:
    """Whether all values are the same to the precision of a double.

    Args:
        values: At least one number.
        scale: The size of the numbers that the values were computed from; their own by default.
    """
    size = float(np.max(np.abs(values))) if scale is None else scale
    return bool(np.ptp(values) <= max(4 * np.finfo(np.float64).eps * size, _SMALLEST))


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


def from_log(logarithm: float) -> float:
    """The exponential, held between 1e-304 and 1e304: the interval of two wild values has no other end."""
    return math.exp(min(max(logarithm, -_LARGEST_LOG), _LARGEST_LOG))
