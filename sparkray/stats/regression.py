"""Does the ratio depend on the size of the model, and do models agree with each other?

Models, not runs, are the observations here: one point a model, its log ratio. Both are written out here:
`scipy.stats.linregress` gives points on one line a p above 0, and `statsmodels`, which has the random-effects mean, adds a
second and a half to every analysis.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Estimate, Values, Vector, alike, sample

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
    points = {name: sample(values, _LEAST_LINE) for name, values in (("x", x), ("y", y))}
    for name, found in points.items():
        if isinstance(found, NotEstimable):
            return NotEstimable(f"{name}: {found.reason}")
    if len(x) != len(y):
        return NotEstimable(f"{len(x)} values of x against {len(y)} of y")
    if alike(np.asarray(x, dtype=np.float64)):
        return NotEstimable("x: all values are alike: no slope")
    return _line(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), level)


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
    means, deviations = sample(effects, _LEAST_POOLED), sample(errors, _LEAST_POOLED, positive=True)
    for name, found in (("effects", means), ("errors", deviations)):
        if isinstance(found, NotEstimable):
            return NotEstimable(f"{name}: {found.reason}")
    if isinstance(means, NotEstimable) or isinstance(deviations, NotEstimable) or len(means) != len(deviations):
        return NotEstimable(f"{len(effects)} effects with {len(errors)} errors")
    scale = float(
        np.min(deviations)
    )  # effects in units of the smallest error, so that no weight leaves a double's range
    if not np.max(deviations) / scale < 1 / np.finfo(np.float64).eps:
        return NotEstimable("errors: one is so much smaller than another that a weight is lost in rounding")
    return _pooled(means / scale, (deviations / scale) ** 2, scale, level)


def _line(x: Vector, y: Vector, level: float) -> Line:
    n, df = len(x), len(x) - 2
    centre_x, centre_y = float(np.mean(x)), float(np.mean(y))
    dx, dy = x - centre_x, y - centre_y
    spread_x, spread_y = float(dx @ dx), float(dy @ dy)
    slope = float(dx @ dy) / spread_x
    residual = float(np.sum((dy - slope * dx) ** 2))
    scale, critical = math.sqrt(residual / df), float(special.stdtrit(df, 0.5 + level / 2))

    def estimate(value: float, error: float) -> Estimate:
        return Estimate(value, value - critical * error, value + critical * error)

    error = scale / math.sqrt(spread_x)
    return Line(
        n=n,
        slope=estimate(slope, error),
        intercept=estimate(centre_y - slope * centre_x, scale * math.sqrt(1 / n + centre_x**2 / spread_x)),
        p=(0.0 if slope else 1.0) if error == 0 else 2 * float(special.stdtr(df, -abs(slope / error))),
        r_squared=None if alike(y) else min(1.0, max(0.0, 1 - residual / spread_y)),
        centre_x=centre_x,
        centre=estimate(centre_y, scale / math.sqrt(n)),
    )


def _pooled(effects: Vector, variances: Vector, scale: float, level: float) -> Pooled:
    df = len(effects) - 1
    weights = 1 / variances
    fixed = float(weights @ effects / np.sum(weights))
    q = float(weights @ (effects - fixed) ** 2)
    tau2 = max(0.0, (q - df) / float(np.sum(weights) - np.sum(weights**2) / np.sum(weights)))
    weights = 1 / (variances + tau2)
    mean = float(weights @ effects / np.sum(weights))
    error = math.sqrt(float(weights @ (effects - mean) ** 2) / df / float(np.sum(weights)))
    half = float(special.stdtrit(df, 0.5 + level / 2)) * error
    return Pooled(
        n=df + 1,
        mean=Estimate(mean * scale, (mean - half) * scale, (mean + half) * scale),
        q=q,
        p=float(special.chdtrc(df, q)),
        i2_pct=max(0.0, (q - df) / q * 100) if q > 0 else 0.0,
        tau=math.sqrt(tau2) * scale,
    )
