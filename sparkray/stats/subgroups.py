"""Do groups of models differ, when models inside of a group differ too?

Each model is one effect (a log ratio) with its standard error. Models of one group scatter about the group's mean by more
than their errors: tau^2, the variance between models, is taken to be the same in every group and is estimated from what all
groups scatter about their own means, by moments (DerSimonian and Laird 1986, Controlled Clinical Trials 7; pooled within
groups as Borenstein, Hedges, Higgins and Rothstein 2009, "Introduction to Meta-Analysis", chapter 19). A group of one model
has no scatter of its own and borrows that of the others. Means and their differences are those of a weighted regression on
group membership; its residual mean square scales the errors, and Student's t has as many degrees of freedom as there are
models less groups: Knapp and Hartung (2003), "Improved tests for a random effects meta-regression with a single covariate",
Statistics in Medicine 22. Where no group has two models there is no degree of freedom and no answer. SciPy has no
such model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable, special
from sparkray.stats.samples import Estimate, Vector, t_interval, t_p, two_samples

Places = NDArray[np.int64]
# (effect, standard error) of each model of a group.
Effects = Sequence[tuple[float, float]]
# Weights are squares: with a smaller error than this share of the greatest, the least weight is lost in rounding.
_LEAST_SHARE = 2 * math.sqrt(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Group:
    """One group: its models, its mean with the interval, and Cochran's Q (None for one model, which cannot scatter)."""

    n: int
    mean: Estimate
    q: float | None
    q_p: float | None


@dataclass(frozen=True)
class Contrast:
    """Mean of the second group less that of the first, on the scale of the effects, with its two-sided p."""

    first: str
    second: str
    difference: Estimate
    p: float


@dataclass(frozen=True)
class Subgroups:
    """Groups of models.

    Attributes:
        groups: By name.
        contrasts: Every pair of groups, in the order of the names.
        df: Models less groups.
        tau: Standard deviation of the true effects from model to model inside a group.
        i2_pct: Share of the variance inside groups that is not the models' own noise, in per cent.
    """

    groups: Mapping[str, Group]
    contrasts: tuple[Contrast, ...]
    df: int
    tau: float
    i2_pct: float


def subgroups(members: Mapping[str, Effects], *, level: float = 0.95) -> Subgroups | NotEstimable:
    """Means of groups and all differences between them.

    Args:
        members: By the group's name, at least one model each; errors above 0.
        level: Confidence of the intervals.

    Returns:
        The groups, or why there is no answer: no group with two models, or a number that is none.
    """
    checked = _checked(members)
    if isinstance(checked, NotEstimable):
        return checked
    effects, errors, which = checked
    if len(effects) <= len(members):
        return NotEstimable.of("no_group_of_two", n=len(effects), groups=len(members))
    scale = float(np.min(errors))
    return _fitted(list(members), effects / scale, (errors / scale) ** 2, which, scale=scale, level=level)


def _checked(members: Mapping[str, Effects]) -> tuple[Vector, Vector, Places] | NotEstimable:
    """Effects, errors and the number of the group, shape (models,) each."""
    flat = [(effect, error, place) for place, group in enumerate(members.values()) for effect, error in group]
    if not flat or not all(len(group) for group in members.values()):
        return NotEstimable("empty_group")
    numbers = two_samples(
        [effect for effect, _, _ in flat], [error for _, error, _ in flat], 1, names=("effects", "errors")
    )
    if isinstance(numbers, NotEstimable):
        return numbers
    effects, errors = numbers
    if not np.all(errors > 0):
        return NotEstimable("bad_error")
    if not np.min(errors) > _LEAST_SHARE * np.max(errors):
        return NotEstimable("errors_apart")
    return effects, errors, np.array([place for _, _, place in flat])


def _fitted(
    names: Sequence[str], effects: Vector, variances: Vector, which: Places, *, scale: float, level: float
) -> Subgroups:
    """Everything in units of the smallest error, turned back at the end."""
    count, df = len(names), len(effects) - len(names)
    q, freedom = _scatter(effects, variances, which, count)
    tau2 = max(0.0, (float(np.sum(q)) - df) / float(np.sum(freedom)))
    weights = 1 / (variances + tau2)
    total = np.bincount(which, weights, count)
    means = np.bincount(which, weights * effects, count) / total
    residual = math.sqrt(float(weights @ (effects - means[which]) ** 2) / df)

    def estimate(value: float, error: float) -> Estimate:
        low, high = t_interval(value, error, df, level)
        return Estimate(value * scale, low * scale, high * scale)

    sizes = np.bincount(which, minlength=count)
    groups = {
        name: Group(
            int(sizes[place]),
            estimate(float(means[place]), residual / math.sqrt(total[place])),
            float(q[place]) if sizes[place] > 1 else None,
            float(special.chdtrc(sizes[place] - 1, q[place])) if sizes[place] > 1 else None,
        )
        for place, name in enumerate(names)
    }
    contrasts = []
    for one, other in combinations(range(count), 2):
        difference = float(means[other] - means[one])
        error = residual * math.sqrt(1 / total[one] + 1 / total[other])
        contrasts.append(Contrast(names[one], names[other], estimate(difference, error), t_p(difference, error, df)))
    whole = float(np.sum(q))
    i2_pct = max(0.0, (whole - df) / whole * 100) if whole > 0 else 0.0
    return Subgroups(groups, tuple(contrasts), df, math.sqrt(tau2) * scale, i2_pct)


def _scatter(effects: Vector, variances: Vector, which: Places, count: int) -> tuple[Vector, Vector]:
    """Cochran's Q of each group, and what it is expected to gain by a unit of variance between models."""
    weights = 1 / variances
    total = np.bincount(which, weights, count)
    means = np.bincount(which, weights * effects, count) / total
    q = np.bincount(which, weights * (effects - means[which]) ** 2, count)
    return np.asarray(q, dtype=np.float64), np.asarray(total - np.bincount(which, weights**2, count) / total)
