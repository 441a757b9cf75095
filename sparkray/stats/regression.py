"""Does the ratio depend on the size of the model, and do models agree with each other?

Models, not runs, are the observations here: one point a model, its log ratio. The line is by hand because
`scipy.stats.linregress` gives points on one line a p above 0; SciPy has no random-effects mean.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Estimate, Values, Vector, alike, t_interval, t_p, too_few, two_samples
from sparkray.stats.subgroups import Group, Subgroups, subgroups

_LEAST_LINE = 3
_LEAST_POOLED = 2


@dataclass(frozen=True)
class Line:
    """A straight line y = intercept + slope x.

    Attributes:
        slope: In units of y per unit of x, with Student's t interval.
        p: Of slope 0, two-sided.
        centre_x: The mean of x. There the line's height and its slope are independent, so that half the width of
            the line's interval at any x is the root of the sum of squares of both halves there.
        centre: The line's height at it, with Student's t interval.
    """

    slope: Estimate
    p: float
    centre_x: float
    centre: Estimate


def line(x: Values, y: Values, *, level: float = 0.95) -> Line | NotEstimable:
    """Least squares, with Student's t intervals: Draper and Smith (1998), "Applied Regression Analysis", chapter 1.

    For overhead against size: x the log10 of the parameters, y the log ratio; the exponential of the slope is then the
    factor on the ratio for ten times the parameters.

    Args:
        x: Shape (n,), at least 3 points, not all alike.
        y: Shape (n,).
        level: Confidence of the intervals.
    """
    points = two_samples(x, y, _LEAST_LINE, paired=True, names=("x", "y"))
    if isinstance(points, NotEstimable):
        return points
    if alike(points[0]):
        return NotEstimable("all_alike").at("x")
    return _line(*points, level)


def pooled(effects: Values, errors: Values, *, level: float = 0.95) -> tuple[Group, Subgroups] | NotEstimable:
    """The common effect of several models, allowing that they differ.

    Weights: DerSimonian and Laird (1986), Controlled Clinical Trials 7. Interval: Hartung and Knapp (2001), Statistics in
    Medicine 20, which keeps its level with few models. Heterogeneity: Cochran (1954), Biometrics 10; Higgins and Thompson
    (2002), Statistics in Medicine 21.

    Args:
        effects: One a model, shape (n,), at least 2, e.g. log ratios.
        errors: Their standard errors, above 0.
        level: Confidence of the interval.

    Returns:
        All models as one group, and what they vary by; or why there is none.
    """
    if len(effects) < _LEAST_POOLED:
        return too_few(len(effects), _LEAST_POOLED, "effect")
    if len(effects) != len(errors):
        return NotEstimable.of("unequal_errors", n=len(effects), errors=len(errors))
    one = subgroups({"": list(zip(effects, errors, strict=True))}, level=level)
    if isinstance(one, NotEstimable):
        return one
    return one.groups[""], one


def _line(x: Vector, y: Vector, level: float) -> Line:
    n, df = len(x), len(x) - 2
    centre_x, centre_y = float(np.mean(x)), float(np.mean(y))
    dx, dy = x - centre_x, y - centre_y
    spread_x = float(dx @ dx)
    slope = float(dx @ dy) / spread_x
    residual = float(np.sum((dy - slope * dx) ** 2))
    scale = math.sqrt(residual / df)
    error = scale / math.sqrt(spread_x)

    def estimate(value: float, error: float) -> Estimate:
        return Estimate(value, *t_interval(value, error, df, level))

    return Line(
        slope=estimate(slope, error),
        p=t_p(slope, error, df),
        centre_x=centre_x,
        centre=estimate(centre_y, scale / math.sqrt(n)),
    )
