"""Interim analyses of a paired ratio: `equivalent` or `different` as soon as certain, error rates controlled.

Each interim analysis may end the experiment, so each must be stricter than a single test: the 5 % are spent over
them by a function of the share of pairs seen (Lan & DeMets 1983, Biometrika 70:659-663). `obrien_fleming` and `pocock`
are theirs, `linear` is the power family of Kim & DeMets (1987, Biometrika 74:149-154) with exponent 1. The critical
values are exact for t statistics of normal log ratios, however few pairs there are: `sparkray.stats._crossing`.

The verdict is the design's own (`sparkray.stats.paired.decide`) on repeated confidence intervals (Jennison & Turnbull
1989, J. R. Stat. Soc. B 51:305-361), which hold the ratio at all interim analyses at once with at least 90 and 95 %:
`equivalent` if the 90 % interval lies inside [1/(1+m), 1+m], `different` if the 95 % interval lies wholly outside it.
Each side of either is one one-sided test, so at a ratio on the margin `equivalent` comes with at most 5 % (an
intersection of two tests, Berger & Hsu 1996, Stat. Sci. 11:283-319) and `different` with hardly more than 2.5 %. No
bound depends on the other, so neither claim leans on the other's stopping. The ratio of a sample that was stopped early
is a little too far from 1; the intervals are not too narrow. No library has bounds that are exact for t statistics of
so few pairs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sparkray.config.experiment import Spending
from sparkray.stats import special
from sparkray.stats._crossing import LEAST_VALUES, MOST_ALPHA, critical_values
from sparkray.stats.assumptions import (
    ALPHA,
    LEAST_CHECKED,
    LEAST_SHARE,
    dependence,
    skewness_ends,
    widening,
)
from sparkray.stats.differences import Difference
from sparkray.stats.normality import shapiro_p
from sparkray.stats.paired import NO_SPREAD, NOT_POSITIVE, VerdictWord, outlook, pairs_needed, verdict_of
from sparkray.stats.reasons import coded, located
from sparkray.stats.samples import Values, alike, from_log
from sparkray.stats.serial import LEAST_WORTH

Array = NDArray[np.float64]
Interval = tuple[float, float]
# Of what is measured: the size of the logarithms whose rounding may tell ratios apart that are alike.
_LARGEST_LOG = 16.0
# Fewer pairs cannot show that they are skewed, so an interim analysis of them must be so many times as certain.
_LEAST_TRUSTED, _CAUTION = 20, 2.5
# At interim analyses normality and independence are rejected earlier: they can wait.
_INTERIM_ALPHA = 0.10
# The words of what is not met.
_UNMET = {"not_independent": "pairs_dependent"}
_SPENDING: dict[Spending, Callable[[float, float], float]] = {
    "linear": lambda alpha, share: alpha * share,
    "pocock": lambda alpha, share: alpha * math.log1p((math.e - 1) * share),
    "obrien_fleming": lambda alpha, share: 2 * float(special.ndtr(special.ndtri(alpha / 2) / math.sqrt(share))),
}


@dataclass(frozen=True)
class Design:
    """Numbers of pairs at which interim analyses are made, ascending from 3; the last is the maximum.

    `margin` is relative; `alpha` is the level of the equivalence test (one-sided twice) and of the difference (two-sided).
    `difference` is given where ratios stand for differences, for words alone.

    Raises:
        ValueError: Looks do not ascend, or margin or alpha lie out of bounds.
    """

    looks: tuple[int, ...]
    margin: float
    alpha: float = 0.05
    spending: Spending = "linear"
    difference: Difference | None = None

    def __post_init__(self) -> None:
        if not self.looks or self.looks[0] < LEAST_VALUES or list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks {list(self.looks)} must ascend from {LEAST_VALUES} or more")
        if not self.margin > 0:
            raise ValueError(f"margin {self.margin} must be above 0")
        if not 0 < self.alpha <= MOST_ALPHA:
            raise ValueError(f"alpha {self.alpha} must be above 0 and at most {MOST_ALPHA}")


@dataclass(frozen=True)
class Bound:
    """One interim analysis: `alpha_spent` by then, and the critical values of t on one side for either claim."""

    n: int
    alpha_spent: float
    equivalence_t: float
    difference_t: float


@dataclass(frozen=True)
class Interim:
    """The result of the interim analysis that decided, else of the last one.

    `ci90` and `ci95` are (low, high) of the ratio and hold at all interim analyses at once; None before the first, and at
    one whose pairs have no ratio. `stop`: decided, or none is left. `n` is the number of pairs used, `alpha_spent` what the
    equivalence test has spent, `sd_log` the sd of those pairs' log ratios. `pairs_needed`, where undecided, would
    decide at 80 % power if the true ratio is 1, at the level of the last interim analysis alone: the others can only
    help. `assumptions` is what it rests on (`stats.assumptions`); `unmet` why that keeps it from the verdict of t.
    """

    verdict: VerdictWord
    stop: bool
    n: int
    alpha_spent: float
    ratio: float | None
    ci90: Interval | None
    ci95: Interval | None
    reason: str
    sd_log: float | None = None
    pairs_needed: int | None = None
    assumptions: str | None = None
    unmet: str | None = None


def alpha_spent(spending: Spending, alpha: float, share: float) -> float:
    """What may be spent of `alpha` by a share (above 0, at most 1) of the most pairs."""
    return _SPENDING[spending](alpha, share)


def bounds(design: Design, closed_at: int | None = None) -> tuple[Bound, ...]:
    """The interim analyses of a design with their critical values.

    `closed_at` is a number of pairs after which no further pair can come: analyses from there on are given up for one there,
    which spends all that is left. It must not have been chosen by their values.
    """
    most = design.looks[-1]
    looks = design.looks
    if closed_at is not None and LEAST_VALUES <= closed_at < most:
        looks = (*(n for n in looks if n < closed_at), closed_at)
    shares = (*(n / most for n in looks[:-1]), 1.0)
    spent = tuple(alpha_spent(design.spending, design.alpha, share) for share in shares)
    equivalence = critical_values(looks, spent)
    half = tuple(alpha_spent(design.spending, design.alpha / 2, share) for share in shares)
    difference = critical_values(looks, half)
    caution = [_CAUTION if n < min(_LEAST_TRUSTED, looks[-1]) else 1.0 for n in looks]
    bound_of = zip(looks, spent, equivalence, difference, caution, strict=True)
    return tuple(Bound(n, alpha, factor * first, factor * second) for n, alpha, first, second, factor in bound_of)


def pair_logs(a: Values, b: Values) -> Array:
    """log(b/a), shape (n,), of arms whose values of one block stand at the same place.

    A pair with a value that is not a finite number above 0 has NaN: it is a pair, and from there on there is no ratio.
    """
    arms = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    sound = np.all([np.isfinite(arm) & (arm > 0) for arm in arms], axis=0)
    return np.asarray(np.log(np.where(sound, arms[1], np.nan)) - np.log(np.where(sound, arms[0], np.nan)))


def interim_verdict(design: Design, log_ratios: Sequence[float], *, closed: bool = False) -> Interim:
    """The verdict of the pairs so far, from them alone: the same pairs in the same order give the same verdict.

    Args:
        design: The design.
        log_ratios: log(b/a) of each complete pair, in the order in which the pairs were completed (`pair_logs`).
        closed: Whether no further pair can come, as when planned runs are all tried and some failed.

    Returns:
        The first that decides stands, whatever came after it; else the last one made.
    """
    return interim_verdicts(design, log_ratios, closed=closed)[-1]


def interim_verdicts(design: Design, log_ratios: Sequence[float], *, closed: bool = False) -> list[Interim]:
    """Every interim analysis up to the first that decides; before the first is due, one that waits for its pairs.

    Args:
        design: The design.
        log_ratios: As in `interim_verdict`.
        closed: As in `interim_verdict`.
    """
    values = np.asarray(log_ratios, dtype=float)
    known = bounds(design, len(values) if closed else None)
    taken = [bound for bound in known if bound.n <= len(values)]
    if not taken:
        reason = coded("interim_waits", n=len(values), least=known[0].n)
        return [Interim("undecided", closed, 0, 0.0, None, None, None, reason)]
    made: list[Interim] = []
    for number, bound in enumerate(taken, 1):
        last = number == len(taken)
        one = _at(design, bound, values[: bound.n], final=number == len(known))
        decided = one.verdict != "undecided"
        if last and one.sd_log is not None and not decided:
            level = float(special.stdtr(known[-1].n - 1, -known[-1].equivalence_t))
            needed = pairs_needed(one.sd_log, design.margin, alpha=level)
            trusted = min(_LEAST_TRUSTED, known[-1].n)
            if needed is not None and bound.n < trusted:
                needed = max(needed, trusted)  # sooner only where the pairs are so much more certain
            one = replace(one, pairs_needed=needed)
        reason = _reason(one, f"{number} of {len(known)}", design, last=last)
        made.append(replace(one, stop=decided or number == len(known), reason=reason))
        if decided:
            break
    return made


def _at(design: Design, bound: Bound, values: Array, *, final: bool) -> Interim:
    """An interim analysis without its place among the others."""
    why = _why_none(values)
    if why is not None:
        return Interim("undecided", False, bound.n, bound.alpha_spent, None, None, None, why)
    found = intervals_at(bound, values[None, :], final=final)
    ci90, ci95 = ((from_log(float(low[0])), from_log(float(high[0]))) for low, high in (found.ci90, found.ci95))
    verdict = verdict_of(ci90, ci95, design.margin)
    assumptions = str(found.assumptions[0])
    unmet = None
    if verdict != "undecided" and not found.decides[0]:
        verdict, unmet = "undecided", coded("interim_unmet", where=_UNMET.get(assumptions, assumptions))
    mean, sd = from_log(float(np.mean(values))), float(np.std(values, ddof=1))
    made = Interim(verdict, False, bound.n, bound.alpha_spent, mean, ci90, ci95, "", sd)
    return replace(made, assumptions=assumptions, unmet=unmet)


@dataclass(frozen=True)
class Intervals:
    """Of many samples at one interim analysis, on the log scale: `decides` is whether a verdict may be read from them."""

    ci90: tuple[Array, Array]
    ci95: tuple[Array, Array]
    decides: NDArray[np.bool_]
    assumptions: NDArray[np.str_]


def intervals_at(bound: Bound, samples: Array, *, final: bool) -> Intervals:
    """The intervals of an interim analysis, and whether its assumptions let it decide.

    An interim analysis before the final one decides nothing where normality or independence is rejected: it waits. The
    final one rests on the wider of t and t corrected for skewness, at the level of `different`, where normality is, and on
    intervals widened by what the pairs are worth where independence is.

    Args:
        bound: The interim analysis.
        samples: Log ratios, shape (samples, n), each in the order in which pairs were completed, none all alike.
        final: Whether no other follows.
    """
    n = samples.shape[1]
    mean, error = np.mean(samples, axis=1), np.std(samples, axis=1, ddof=1) / math.sqrt(n)
    skewed, dependent, worth = np.zeros(len(samples), bool), np.zeros(len(samples), bool), np.full(len(samples), n)
    if n >= LEAST_CHECKED:
        skewed = shapiro_p(samples) < (ALPHA if final else _INTERIM_ALPHA)
    if n >= LEAST_WORTH:
        p, worth = dependence(samples)
        dependent = p < (ALPHA if final else _INTERIM_ALPHA)
    ends = []
    for critical, level in ((bound.equivalence_t, 0.90), (bound.difference_t, 0.95)):
        half = critical * error
        low, high = mean - half, mean + half
        if final and skewed.any():
            corrected = skewness_ends(samples, bound.difference_t)
            wide = bound.difference_t * error
            low = np.where(skewed, np.minimum(mean - wide, corrected[0]), low)
            high = np.where(skewed, np.maximum(mean + wide, corrected[1]), high)
        factors = np.array([widening(n, one, level) for one in worth]) if final and dependent.any() else 1.0
        ends.append((mean + factors * (low - mean), mean + factors * (high - mean)))
    sound = ~(skewed | dependent) if not final else worth >= n * LEAST_SHARE
    codes = np.array(["hold", "not_normal", "not_independent", "neither"])[skewed + 2 * dependent]
    checked = codes if n >= LEAST_CHECKED else np.full(len(samples), "unchecked")
    return Intervals(ends[0], ends[1], np.asarray(sound), checked)


def _why_none(values: Array) -> str | None:
    """Why pairs have no ratio with an interval; None where they have one."""
    if not np.all(np.isfinite(values)):
        return NOT_POSITIVE
    return NO_SPREAD if alike(values, scale=max(_LARGEST_LOG, float(np.max(np.abs(values))))) else None


def _reason(interim: Interim, place: str, design: Design, *, last: bool) -> str:
    """The result of an interim analysis as codes; of the last one that is undecided also the pairs that would decide."""
    scale = design.difference
    margin = f"{design.margin:.1%}" if scale is None else f"{scale.margin:g}"
    result = coded(f"interim_{interim.verdict}", margin=margin, place=place, n=interim.n)
    level, interval = (95, interim.ci95) if interim.verdict == "different" else (90, interim.ci90)
    if interval is None or interim.ratio is None:
        return located(interim.reason, result)
    numbers = (interim.ratio, *interval)
    if scale is None:
        value, low, high = (f"{number:.4f}" for number in numbers)
        estimate = coded("interim_ratio", ratio=value, level=level, low=low, high=high)
    else:
        value, low, high = (f"{scale.back(number):+.4g}" for number in numbers)
        estimate = coded("interim_difference", difference=value, level=level, low=low, high=high)
    found = located(estimate, result)
    if interim.verdict != "undecided" or not last:
        return found
    return f"{found}; {outlook(interim.pairs_needed, interim.n, at_most=True)}"
