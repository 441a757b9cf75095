"""Group-sequential looks at a paired ratio: `equivalent` or `different` as soon as it is certain, with errors kept.

Looks after so many pairs may each end the matter, so each must be stricter than a single test: the 5 % are spent over the
looks by a function of the share of pairs seen (Lan & DeMets 1983, Biometrika 70:659-663). `obrien_fleming` and `pocock`
are theirs, `linear` is the power family of Kim & DeMets (1987, Biometrika 74:149-154) with exponent 1. The critical
values are exact for t statistics of normal log ratios, however few pairs there are: `sparkray.stats._crossing`.

The verdict is the design's own (`sparkray.stats.paired.decide`) on repeated confidence intervals (Jennison & Turnbull
1989, J. R. Stat. Soc. B 51:305-361), which hold the ratio at all looks at once with at least 90 and 95 %: `equivalent` if
the 90 % interval lies inside [1/(1+m), 1+m], `different` if the 95 % interval lies wholly outside it. Each side of either
is one one-sided test, so at a ratio on the margin `equivalent` comes with at most 5 % (an intersection of two tests,
Berger & Hsu 1996, Stat. Sci. 11:283-319) and `different` with hardly more than 2.5 %. No bound depends on the other, so
neither claim leans on the other's stopping. The ratio of a sample that was stopped early is a little too sure of itself;
the intervals are not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sparkray.spec.experiment import Spending
from sparkray.stats._crossing import LEAST_LOOK, MOST_ALPHA, critical_values
from sparkray.stats.paired import VerdictWord
from sparkray.stats.samples import from_log

Array = NDArray[np.float64]
Interval = tuple[float, float]
_SPENDING: dict[Spending, Callable[[float, float], float]] = {
    "linear": lambda alpha, share: alpha * share,
    "pocock": lambda alpha, share: alpha * math.log1p((math.e - 1) * share),
    "obrien_fleming": lambda alpha, share: 2 * float(norm.sf(norm.isf(alpha / 2) / math.sqrt(share))),
}


@dataclass(frozen=True)
class Design:
    """Looks at numbers of pairs, ascending from 3; the last is the most there can be.

    `margin` is relative; `alpha` is the level of the equivalence test (one-sided twice) and of the difference (two-sided).

    Raises:
        ValueError: Looks do not ascend, or margin or alpha lie out of bounds.
    """

    looks: tuple[int, ...]
    margin: float
    alpha: float = 0.05
    spending: Spending = "linear"

    def __post_init__(self) -> None:
        if not self.looks or self.looks[0] < LEAST_LOOK or list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks {list(self.looks)} must ascend from {LEAST_LOOK} or more")
        if not self.margin > 0:
            raise ValueError(f"margin {self.margin} must be above 0")
        if not 0 < self.alpha <= MOST_ALPHA:
            raise ValueError(f"alpha {self.alpha} must be above 0 and at most {MOST_ALPHA}")


@dataclass(frozen=True)
class Bound:
    """One look: `alpha_spent` by then, and the critical values of t on one side for either claim."""

    n: int
    alpha_spent: float
    equivalence_t: float
    difference_t: float


@dataclass(frozen=True)
class Look:
    """What is known at the look that decided, else at the last look taken.

    `ci90` and `ci95` are (low, high) of the ratio and hold at all looks at once; None before the first look. `stop`:
    decided, or no look is left. `n` is the number of pairs used, `alpha_spent` what the equivalence test has spent.
    """

    verdict: VerdictWord
    stop: bool
    n: int
    alpha_spent: float
    ratio: float | None
    ci90: Interval | None
    ci95: Interval | None
    reason: str


def alpha_spent(spending: Spending, alpha: float, share: float) -> float:
    """What may be spent of `alpha` by a share (above 0, at most 1) of the most pairs."""
    return _SPENDING[spending](alpha, share)


def bounds(design: Design, closed_at: int | None = None) -> tuple[Bound, ...]:
    """The looks of a design with their critical values.

    `closed_at` is a number of pairs after which no further pair can come: looks from there on are given up for one there,
    which spends all that is left. It must not have been chosen by what the pairs said.
    """
    most = design.looks[-1]
    looks = design.looks
    if closed_at is not None and LEAST_LOOK <= closed_at < most:
        looks = (*(n for n in looks if n < closed_at), closed_at)
    shares = (*(n / most for n in looks[:-1]), 1.0)
    spent = tuple(alpha_spent(design.spending, design.alpha, share) for share in shares)
    equivalence = critical_values(looks, spent)
    half = tuple(alpha_spent(design.spending, design.alpha / 2, share) for share in shares)
    difference = critical_values(looks, half)
    return tuple(Bound(*values) for values in zip(looks, spent, equivalence, difference, strict=True))


def look(design: Design, log_ratios: Sequence[float], *, closed: bool = False) -> Look:
    """The verdict that the pairs so far allow, from them alone: the same pairs in the same order say the same again.

    Args:
        design: The design.
        log_ratios: log(b/a) of each complete pair, in the order in which the pairs were completed.
        closed: Whether no further pair can come, as when planned runs are all tried and some failed.

    Returns:
        The first look that decides stands, whatever came after it; else the last look taken.
    """
    values = np.asarray(log_ratios, dtype=float)
    if not np.all(np.isfinite(values)):
        return Look("undecided", False, 0, 0.0, None, None, None, "a log ratio is not a finite number")
    there = len(values)
    known = bounds(design, there if closed else None)
    taken = [bound for bound in known if bound.n <= there]
    if not taken:
        reason = f"{there} of the {known[0].n} pairs of the first look are there"
        return Look("undecided", closed, 0, 0.0, None, None, None, reason)
    looks = [_at(design, bound, values[: bound.n]) for bound in taken]
    decided = next((number for number, found in enumerate(looks) if found.verdict != "undecided"), None)
    number = len(looks) - 1 if decided is None else decided
    found = looks[number]
    stop = decided is not None or len(taken) == len(known)
    return _told(found, f"look {number + 1} of {len(known)}", design.margin, stop=stop)


def _at(design: Design, bound: Bound, values: Array) -> Look:
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(bound.n)

    def interval(critical: float) -> Interval:
        half = critical * error if error > 0 else 0.0
        return from_log(mean - half), from_log(mean + half)

    ci90, ci95 = interval(bound.equivalence_t), interval(bound.difference_t)
    low, high = 1 / (1 + design.margin), 1 + design.margin
    verdict: VerdictWord = "undecided"
    if low <= ci90[0] and ci90[1] <= high:
        verdict = "equivalent"
    elif ci95[1] < low or ci95[0] > high:
        verdict = "different"
    return Look(verdict, False, bound.n, bound.alpha_spent, from_log(mean), ci90, ci95, "")


def _told(found: Look, where: str, margin: float, *, stop: bool) -> Look:
    level, interval = ("95 %", found.ci95) if found.verdict == "different" else ("90 %", found.ci90)
    low, high = interval or (math.nan, math.nan)
    said = {"equivalent": "equivalent within", "different": "different by more than", "undecided": "undecided at"}
    text = (
        f"{said[found.verdict]} {margin:.1%} at {where} ({found.n} pairs): ratio {found.ratio:.4f}, "
        f"{level} CI at all looks {low:.4f} to {high:.4f}"
    )
    return Look(
        found.verdict, stop, found.n, found.alpha_spent, found.ratio, ci90=found.ci90, ci95=found.ci95, reason=text
    )
