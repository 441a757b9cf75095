"""Does the ratio depend on the size of the model, and do models agree with each other?

Models, not runs, are the observations here: one point a model, its log ratio. The line is by hand because
`scipy.stats.linregress` gives points on one line a p above 0; SciPy has no random-effects mean.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Estimate, Values, Vector, alike, t_interval, t_p, too_few, two_samples
from sparkray.stats.subgroups import subgroups

_LEAST_LINE = 3
_LEAST_POOLED = 2


@dataclass(frozen=True)
class Line:
    """A straight line y = intercept + slope x.

    Attributes:
        n: Points.
        slope: In units of y per unit of x, with Student's t interval.
        intercept: y at x = 0, likewise.
        p: Of slope 0, two-sided.
        r_squared: Share of the variance of y that the line explains; None where y does not vary.
        centre_x: The mean of x. There the line's height and its slope are independent, so that half the width of
            the line's interval at any x is the root of the sum of squares of both halves there.
        centre: The line's height at it, with Student's t interval.
    """

    n: int
    slope: Estimate
    intercept: Estimate
    p: float
    r_squared: float | None
    centre_x: float
    centre: Estimate


@dataclass(frozen=True)
class Pooled:
    """What several models say together, on the scale of the effects (log ratios).

    Attributes:
        n: Effects.
        mean: Random-effects mean with its interval over models like these.
        q: Cochran's Q, chi-square with n - 1 degrees of freedom where all models have the same effect.
        p: Of that.
        i2_pct: Share of the variance between estimates that is not their own noise, in per cent.
        tau: Standard deviation of the true effects from model to model.
    """

    n: int
    mean: Estimate
    q: float
    p: float
    i2_pct: float
    tau: float


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
        return NotEstimable("x: all values are alike: no slope")
    return _line(*points, level)


def pooled(effects: Values, errors: Values, *, level: float = 0.95) -> Pooled | NotEstimable:
    """The common effect of several models, allowing that they differ.

    Weights: DerSimonian and Laird (1986), Controlled Clinical Trials 7. Interval: Hartung and Knapp (2001), Statistics in
    Medicine 20, which keeps its level with few models. Heterogeneity: Cochran (1954), Biometrics 10; Higgins and Thompson
    (2002), Statistics in Medicine 21.

    Args:
        effects: One a model, shape (n,), at least 2, e.g. log ratios.
        errors: Their standard errors, above 0.
        level: Confidence of the interval.
    """
    if len(effects) < _LEAST_POOLED:
        return too_few(len(effects), _LEAST_POOLED, "effect")
    if len(effects) != len(errors):
        return NotEstimable(f"{len(effects)} effects with {len(errors)} errors")
    one = subgroups({"": list(zip(effects, errors, strict=True))}, level=level)
    if isinstance(one, NotEstimable):
        return one
    group = one.groups[""]
    return Pooled(group.n, group.mean, group.q or 0.0, group.q_p or 0.0, one.i2_pct, one.tau)


def _line(x: Vector, y: Vector, level: float) -> Line:
    n, df = len(x), len(x) - 2
    centre_x, centre_y = float(np.mean(x)), float(np.mean(y))
    dx, dy = x - centre_x, y - centre_y
    spread_x, spread_y = float(dx @ dx), float(dy @ dy)
    slope = float(dx @ dy) / spread_x
    residual = float(np.sum((dy - slope * dx) ** 2))
    scale = math.sqrt(residual / df)
    error = scale / math.sqrt(spread_x)

    def estimate(value: float, error: float) -> Estimate:
        return Estimate(value, *t_interval(value, error, df, level))

    return Line(
        n=n,
        slope=estimate(slope, error),
        intercept=estimate(centre_y - slope * centre_x, scale * math.sqrt(1 / n + centre_x**2 / spread_x)),
        p=t_p(slope, error, df),
        r_squared=None if alike(y) else min(1.0, max(0.0, 1 - residual / spread_y)),
        centre_x=centre_x,
        centre=estimate(centre_y, scale / math.sqrt(n)),
    )
