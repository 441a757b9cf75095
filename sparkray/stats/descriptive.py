"""What a sample looks like: n, mean, sd, CV."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Description:
    """A sample in four numbers. `sd` has n-1 in its denominator; `cv_pct` is sd over mean in per cent.

    `sd` is None for one value, `cv_pct` also when the mean is 0.
    """

    n: int
    mean: float | None
    sd: float | None
    cv_pct: float | None


def describe(values: Sequence[float]) -> Description:
    """Description of a sample of any size; an empty one has nothing but n = 0."""
    if not len(values):
        return Description(0, None, None, None)
    mean = float(np.mean(values))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Description(len(values), mean, sd, abs(sd / mean) * 100 if sd is not None and mean else None)
