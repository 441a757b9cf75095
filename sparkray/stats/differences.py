"""Differences of pairs, judged against a margin in the metric's own unit, by what is made for ratios.

Where a metric can be 0 (memory that did not fall, throttled time, failed requests), pairs have no ratio, but a
difference. A difference d is handled as the log ratio d/step, so that intervals, checks of assumptions, power and interim
analyses are those of ratios, with Student's t on the differences themselves.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, paired_ratio, too_few_pairs
from sparkray.stats.samples import Vector, alike

NO_SPREAD = "no_spread_difference"
# Margins a step: a difference of millions of margins is still within the range of a double.
_MARGINS = 1e4
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Difference:
    """How differences are turned into ratios and back: `margin` and `step` in the metric's unit; `margin` may be unknown."""

    margin: float | None
    step: float

    @property
    def relative(self) -> float | None:
        """The margin of the ratios that differences are turned into."""
        return None if self.margin is None else math.expm1(self.margin / self.step)

    def back(self, ratio: float) -> float:
        """The difference that a ratio stands for."""
        return math.log(ratio) * self.step

    def paired(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Arms of which the ratios are the differences b - a; those that spread by rounding alone are made alike."""
        found = np.asarray(b - a, dtype=np.float64)
        if len(found) and alike(found, scale=float(np.max(np.abs([a, b])))):
            found = np.full(len(found), np.mean(found))
        return np.ones(len(found)), np.exp(np.clip(found / self.step, -_LARGEST_LOG, _LARGEST_LOG))


def difference_of(a: Vector, b: Vector, margin: float | None) -> Difference:
    """The scale of the differences of pairs, for a margin above 0, or for none."""
    if margin is not None:
        return Difference(margin, _MARGINS * margin)
    largest = float(np.max(np.abs(b - a), initial=0.0))
    return Difference(None, largest if 0 < largest < math.inf else 1.0)


def paired_difference(a: Vector, b: Vector, scale: Difference) -> Ratio | NotEstimable:
    """The mean difference of pairs as a ratio (`Difference.back`), or why there is none."""
    if len(a) < 2:  # noqa: PLR2004 - an interval needs two
        return too_few_pairs(len(a))
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return NotEstimable("not_finite")
    found = paired_ratio(*scale.paired(a, b))
    return NotEstimable(NO_SPREAD) if isinstance(found, NotEstimable) else found
