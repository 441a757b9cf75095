"""Are the log ratios of pairs what Student's t takes them for: normal and independent? And intervals where they are not.

Normality by Shapiro and Wilk, of the log ratios and not of the arms; independence by the lag-1 correlation in the order in
which pairs were completed. Where normality fails, the verdict rests on the widest of four 95 % intervals of the mean, so
that it depends on none of them: Student's t, t corrected for skewness (Hall 1992, "On the removal of skewness by
transformation", J. R. Stat. Soc. B 54), the paired BCa bootstrap, and Hodges and Lehmann's (1963) of Wilcoxon's signed
ranks. Equivalence is read from the 95 % interval there: a sample shows less skewness than its law has. Where independence
fails, the interval is widened by what the pairs are worth (`serial.effective_n`); where they are worth less than a third of
their number there is no verdict. `benchmarks/planted_truth.py` measures what this costs and buys.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparkray.stats import NotEstimable, special
from sparkray.stats.bootstrap import mean_intervals
from sparkray.stats.normality import shapiro_p
from sparkray.stats.paired import Decision, Ratio, VerdictWord, pairs_needed, verdict_of
from sparkray.stats.reasons import coded
from sparkray.stats.samples import Estimate, Vector, critical_t, exponential, from_log, t_interval, together, too_few
from sparkray.stats.serial import LEAST_WORTH, effective_n, lag1_if_independent

ALPHA = 0.05
# Fewer pairs show no departure from the normal law but a wild one.
LEAST_CHECKED = 8
_MOST_CHECKED = 5000
# Pairs that are worth less than this share of their number have no verdict.
LEAST_SHARE = 1 / 3
_NO_SKEWNESS = 1e-9
_LEVEL = 0.95
_MOST_RANKED = 500


@dataclass(frozen=True)
class Assumptions:
    """What was checked of log ratios; None where there are too few (8 for `shapiro_p`, 10 for `lag1_p`).

    `worth` is the number of independent pairs that they are worth, their own number where independence is not rejected.
    """

    n: int
    shapiro_p: float | None
    lag1_p: float | None
    worth: float

    @property
    def normal(self) -> bool:
        """Whether normality is not rejected."""
        return self.shapiro_p is None or self.shapiro_p >= ALPHA

    @property
    def independent(self) -> bool:
        """Whether independence is not rejected."""
        return self.lag1_p is None or self.lag1_p >= ALPHA

    @property
    def code(self) -> str:
        """What the verdict rests on: `unchecked`, `hold`, `not_normal`, `not_independent`, `neither`."""
        if self.shapiro_p is None:
            return "unchecked" if self.independent else "not_independent"
        if self.normal:
            return "hold" if self.independent else "not_independent"
        return "not_normal" if self.independent else "neither"


@dataclass(frozen=True)
class Beside:
    """95 % intervals of the ratio beside Student's t; `hodges_lehmann` is of the pseudomedian."""

    skewness: tuple[float, float]
    bca: Estimate | NotEstimable
    hodges_lehmann: Estimate | NotEstimable


@dataclass(frozen=True)
class Checked:
    """A ratio with the intervals that its verdict rests on; `student` has those of Student's t, whatever was found."""

    ratio: Ratio
    student: Ratio
    assumptions: Assumptions
    beside: Beside | None


def checked(student: Ratio, in_time: Vector, *, seed: int = 0, beside: bool = True) -> Checked:
    """The intervals that hold for these pairs.

    Args:
        student: The ratio by Student's t (`stats.paired`).
        in_time: Its log ratios in the order in which the pairs were completed, shape (n,), not all alike.
        seed: Of the bootstrap.
        beside: Whether the other intervals are wanted where the verdict rests on Student's t.
    """
    return checked_many([student], [in_time], seed=seed, beside=beside)[0]


def checked_many(
    students: Sequence[Ratio], in_time: Sequence[Vector], *, seed: int = 0, beside: bool = True
) -> list[Checked]:
    """`checked` of many comparisons at once."""
    found = assumptions_of(in_time)
    wanted = [place for place, one in enumerate(found) if beside or not one.normal]
    others = dict(zip(wanted, _beside([in_time[place] for place in wanted], seed), strict=True))
    return [
        _checked(one, made, others.get(place)) for place, (one, made) in enumerate(zip(students, found, strict=True))
    ]


def _checked(student: Ratio, found: Assumptions, others: Beside | None) -> Checked:
    if found.normal and found.independent:
        return Checked(student, student, found, others)
    ends = {0.95: student.ci95, 0.90: student.ci90}
    if others is not None and not found.normal:
        ends = dict.fromkeys(ends, _widest(student.ci95, others))
    mean = math.log(student.ratio)
    ci95, ci90 = (_widened(ends[level], mean, found, level) for level in (0.95, 0.90))
    return Checked(Ratio(student.n, student.ratio, ci95, ci90, student.sd_log), student, found, others)


def decide_checked(found: Checked, margin: float) -> tuple[Decision, str | None]:
    """The verdict against a relative margin above 0, and as a code why it is not the one of Student's t."""
    ratio, assumptions = found.ratio, found.assumptions
    verdict = verdict_of(ratio.ci90, ratio.ci95, margin)
    student = verdict_of(found.student.ci90, found.student.ci95, margin)
    reason = None
    if assumptions.worth < assumptions.n * LEAST_SHARE:
        verdict = "undecided"
    if verdict != student:
        reason = _why(assumptions, student)
    # what more pairs would do is known of independent ones, and where it is their number that keeps them undecided
    known = verdict == "undecided" and reason is None and assumptions.independent
    return Decision(verdict, margin, pairs_needed(ratio.sd_log, margin) if known else None), reason


def _why(found: Assumptions, student: VerdictWord) -> str:
    if not found.independent:
        return coded("not_independent", student=student, n=found.n, worth=f"{found.worth:.1f}")
    return coded("depends_on_interval", student=student, p=f"{found.shapiro_p:.2g}")


def unseen_share(n: int) -> float:
    """The share of pairs of another kind that n pairs without one do not exclude, at 95 %: about 3/n (rule of three)."""
    return float(1 - (1 - _LEVEL) ** (1 / n))


def tolerated(ci90: tuple[float, float], n: int, margin: float) -> float:
    """How much, as a relative difference, such pairs may lie from those that were met before `equivalent` is lost.

    Their share and their distance together move the mean by what the interval leaves of the margin. Pairs that were not met
    cannot be tested: at a share of 5 %, 21 % of studies of 30 pairs have none, and are normal samples like any other.
    """
    room = math.log1p(margin) - max(math.log(ci90[1]), -math.log(ci90[0]))
    return from_log(room / unseen_share(n)) - 1


def assumptions_of(in_time: Sequence[Vector]) -> list[Assumptions]:
    """What can be checked of samples of log ratios, each not all alike, in the order in which pairs were completed."""
    return [one for one in together([(logs,) for logs in in_time], _of_rows) if not isinstance(one, NotEstimable)]


def _of_rows(rows: Vector) -> list[Assumptions]:
    n, none = rows.shape[1], [None] * len(rows)
    normal = shapiro_p(rows).tolist() if LEAST_CHECKED <= n <= _MOST_CHECKED else none
    if n < LEAST_WORTH:
        return [Assumptions(n, p, None, n) for p in normal]
    p, worth = dependence(rows)
    return [Assumptions(n, *one) for one in zip(normal, p.tolist(), worth.tolist(), strict=True)]


def dependence(samples: Vector) -> tuple[Vector, Vector]:
    """The one-sided p of independence of each sample, and what its values are worth.

    Args:
        samples: Shape (samples, n), n at least 10, each in the order of measurement and not all alike.
    """
    n = samples.shape[1]
    centred = samples - np.mean(samples, axis=1, keepdims=True)
    lag1 = np.sum(centred[:, 1:] * centred[:, :-1], axis=1) / np.sum(centred**2, axis=1)
    mean, variance = lag1_if_independent(n)
    p = special.ndtr(-(lag1 - mean) / math.sqrt(variance))
    worth = np.array([effective_n(n, r) if rejected else n for r, rejected in zip(lag1, p < ALPHA, strict=True)])
    return np.asarray(p), worth


def skewness_ends(samples: Vector, critical: float) -> tuple[Vector, Vector]:
    """The ends of the interval of each sample's mean, corrected for its skewness, on the samples' own scale.

    Args:
        samples: Shape (samples, n), n at least 3.
        critical: Of t on one side.
    """
    n = samples.shape[1]
    mean = np.mean(samples, axis=1)
    centred = samples - mean[:, None]
    variance = np.mean(centred**2, axis=1)
    skewness = np.mean(centred**3, axis=1) / variance**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    error, share = np.sqrt(variance / (n - 1)), skewness / math.sqrt(n)
    flat = np.abs(share) < _NO_SKEWNESS
    divisor = np.where(flat, 1.0, share)

    def turned(t: float) -> Vector:
        return np.asarray(np.where(flat, t, 3 / divisor * (np.cbrt(1 + divisor * (t - divisor / 6)) - 1)))

    return mean - turned(critical) * error, mean - turned(-critical) * error


def widening(n: int, worth: float, level: float) -> float:
    """What an interval of n pairs is to be multiplied by where they are worth fewer."""
    if worth >= n:
        return 1.0
    return math.sqrt(n / worth) * critical_t(max(worth - 1, 1.0), level) / critical_t(n - 1, level)


def hodges_lehmann(logs: Vector, level: float = _LEVEL) -> Estimate | NotEstimable:
    """The median of the means of any two values, and the interval that Wilcoxon's signed ranks do not reject.

    Hodges and Lehmann (1963), Annals of Mathematical Statistics 34; exact ranks. From 6 values on for 95 %.
    """
    n = len(logs)
    if n > _MOST_RANKED:
        return NotEstimable.of("too_many_ranked", n=n, most=_MOST_RANKED)
    first, second = np.triu_indices(n)
    means = np.sort((logs[first] + logs[second]) / 2)
    cut = int(np.searchsorted(_rank_sums(n), (1 - level) / 2, "right")) - 1
    if cut < 0:
        return too_few(n, 6, "pair")
    middle = float(np.median(means))
    return Estimate(middle, float(means[cut]), float(means[len(means) - 1 - cut]))


@lru_cache(maxsize=64)
def _rank_sums(n: int) -> Vector:
    """The distribution function of Wilcoxon's signed-rank sum, by its sum."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return np.asarray(np.cumsum(chances))


def _beside(samples: Sequence[Vector], seed: int) -> list[Beside]:
    bootstrapped = mean_intervals(samples, seed=seed)
    return [
        Beside(_skewness(logs), _as_ratio(bca), _as_ratio(hodges_lehmann(logs)))
        for logs, bca in zip(samples, bootstrapped, strict=True)
    ]


def _skewness(logs: Vector) -> tuple[float, float]:
    if len(logs) > 2:  # noqa: PLR2004 - a skewness needs three
        ends = skewness_ends(logs[None, :], critical_t(len(logs) - 1, _LEVEL))
        return from_log(float(ends[0][0])), from_log(float(ends[1][0]))
    low, high = t_interval(float(np.mean(logs)), float(np.std(logs, ddof=1)) / math.sqrt(2), 1)
    return from_log(low), from_log(high)


def _as_ratio(estimate: Estimate | NotEstimable) -> Estimate | NotEstimable:
    return estimate if isinstance(estimate, NotEstimable) else exponential(estimate)


def _widest(student: tuple[float, float], beside: Beside) -> tuple[float, float]:
    others = [one for one in (beside.bca, beside.hodges_lehmann) if not isinstance(one, NotEstimable)]
    ends = [student, beside.skewness]
    ends += [(one.low, one.high) for one in others if one.low is not None and one.high is not None]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _widened(ends: tuple[float, float], mean: float, found: Assumptions, level: float) -> tuple[float, float]:
    factor = widening(found.n, found.worth, level)
    low, high = (from_log(mean + factor * (math.log(end) - mean)) for end in ends)
    return low, high
