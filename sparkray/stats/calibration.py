"""A/A: how often a design shows a difference between an arm and itself, and what the noise of a machine lets it detect.

A sequence of runs of one arm is cut into pseudo-experiments of 2m consecutive runs, none used twice. Each is analysed
by two designs as if two arms had been measured:

paired
    Blocks of two consecutive runs, the arms' labels drawn inside each block: the design of this package, judged as it
    judges, by whether the 95 % interval of the ratio (`stats.paired`) excludes 1.
blocked
    The first m runs are one arm, the next m the other: the design of the study before this one, judged by Student's t
    test of two independent samples at 5 %. With equal variances and sizes, which hold here by construction, that test is
    exact for independent normal runs, so what exceeds 5 % is the design's fault and not the test's.

Both differ from an arm to itself in 5 % of experiments when they work. Rejections are binomial, since experiments share
no run, and the interval of their rate is that of Clopper & Pearson (1934), which never covers less than its level.

The experiments of different m are cut from the same runs: their rates are not independent of each other, and one m must be
named before the data (`HEADLINE_PAIRS`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from sparkray.stats import NotEstimable, special
from sparkray.stats.paired import Ratio, paired_ratio, pairs_needed
from sparkray.stats.power import minimum_detectable
from sparkray.stats.serial import drift, lag1_if_independent, memory

# What a sound design's false-positive rate is.
LEVEL = 0.05
# Pairs of a pseudo-experiment, m.
PAIRS = (3, 5, 10, 30)
# The m that a calibration stands or falls by, fixed here and not by the data. It is the least m of which a t interval
# is of any use (m = 2 has one degree of freedom), so it makes the most experiments of given runs: 20 of 120.
HEADLINE_PAIRS = 3
_LEAST_EXPERIMENTS = 2
_SUSPICIOUS = 0.01


@dataclass(frozen=True)
class Rate:
    """Rejections among independent experiments; `low` and `high` are the Clopper-Pearson 95 % interval, all shares of 1."""

    experiments: int
    rejections: int
    rate: float
    low: float
    high: float

    @property
    def excludes_level(self) -> bool:
        """Whether the interval excludes the 5 % that a sound design has."""
        return not self.low <= LEVEL <= self.high


@dataclass(frozen=True)
class Trial:
    """Pseudo-experiments of `pairs` pairs under both designs.

    `paired_reused` and `blocked_reused` are the shares of rejections over all `windows` of 2m consecutive runs. Windows
    overlap and so reuse runs: a diagnostic with less noise, of which no interval can be given.
    """

    pairs: int
    paired: Rate
    blocked: Rate
    windows: int
    paired_reused: float
    blocked_reused: float


@dataclass(frozen=True)
class Noise:
    """The noise of a sequence. `sd_log` is the sd of the log ratio of two consecutive runs, over `pairs` disjoint ones.

    It is taken about 0, the true log ratio of an arm against itself, so an effect of the order inside a block is part of
    it, as it is part of what a design with random order meets. `cv_pct` is sd over mean of all runs, drift included.
    """

    runs: int
    mean: float
    cv_pct: float
    pairs: int
    sd_log: float


@dataclass(frozen=True)
class Course:
    """A sequence over time; None where there are too few runs or no variation.

    `lag1_p` is two-sided against independence, `drift_p` Kendall's against no trend; `drift_pct_per_run` is the slope of
    Theil and Sen in per cent of the median.
    """

    lag1: float | None = None
    lag1_p: float | None = None
    effective_n: float | None = None
    drift_pct_per_run: float | None = None
    drift_p: float | None = None


@dataclass(frozen=True)
class Reach:
    """What a paired comparison can do with this noise.

    `smallest_pct` is the least effect, in per cent, that a paired t test of `planned_pairs` pairs detects with 80 % power
    (`stats.power`), None if there is no number; `pairs_needed` is the number with 80 % power to call equal arms equivalent
    within `margin`, None beyond 100,000 and without a margin or noise.
    """

    planned_pairs: int
    smallest_pct: float | None
    margin: float | None
    pairs_needed: int | None


@dataclass(frozen=True)
class Calibration:
    """One metric of one arm against itself. `cause` is why the paired design misses its 5 %, in words; None if it keeps it.

    Whether it does is judged by the first trial, the headline's.
    """

    trials: tuple[Trial, ...]
    noise: Noise
    course: Course
    reach: Reach
    cause: str | None

    @property
    def headline(self) -> Trial:
        """The trial that was named before the data."""
        return self.trials[0]


def calibrate(
    values: Sequence[float], course: Course, *, planned_pairs: int, margin: float | None, seed: int
) -> Calibration | NotEstimable:
    """The calibration of one metric from runs of one arm.

    Args:
        values: Of consecutive runs, in the order of measurement, above 0; 6 or more.
        course: What the sequence did over time.
        planned_pairs: Pairs that experiments on this machine are planned with.
        margin: Relative margin of equivalence, if there is one.
        seed: Of the labels inside blocks.
    """
    made, noise = trials(values, seed=seed), noise_of(values)
    if isinstance(made, NotEstimable):
        return made
    if isinstance(noise, NotEstimable):
        return noise
    headline = made[0].paired
    cause = likely_cause(headline, course, noise) if headline.excludes_level else None
    return Calibration(made, noise, course, reach_of(noise, planned_pairs, margin), cause)


def rate_of(rejections: int, experiments: int) -> Rate:
    """The rate with its exact interval, of at least one experiment."""
    interval = scipy.stats.binomtest(rejections, experiments).proportion_ci(0.95, method="exact")
    return Rate(experiments, rejections, rejections / experiments, float(interval.low), float(interval.high))


def paired_rejects(values: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Whether the paired design shows a difference: the 95 % interval of the ratio (`stats.paired`) excludes 1.

    Args:
        values: 2m consecutive runs an experiment, shape (..., 2m), all above 0.
        swapped: Shape (..., m); where True the second run of a block is of the reference arm.
    """
    pairs, m = values.reshape(*swapped.shape, 2), swapped.shape[-1]
    arms = [np.where(swapped, pairs[..., 1 - arm], pairs[..., arm]).reshape(-1, m) for arm in (0, 1)]
    found = [paired_ratio(a, b) for a, b in zip(*arms, strict=True)]
    return np.array([isinstance(one, Ratio) and one.excludes_one for one in found]).reshape(swapped.shape[:-1])


def blocked_rejects(values: np.ndarray) -> np.ndarray:
    """Whether Student's t test at 5 % shows a difference between the halves of 2m runs; never where neither half varies.

    Args:
        values: Shape (..., 2m).
    """
    halves = np.split(values, 2, axis=-1)
    moments = [(each.mean(axis=-1), each.std(axis=-1, ddof=1), each.shape[-1]) for each in halves]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(scipy.stats.ttest_ind_from_stats(*moments[0], *moments[1]).pvalue < LEVEL)


def trials(values: Sequence[float], *, seed: int, sizes: Sequence[int] = PAIRS) -> tuple[Trial, ...] | NotEstimable:
    """Pseudo-experiments of every size that the runs suffice for at least twice, the first size once.

    Args:
        values: One metric of consecutive runs of one arm, in the order of measurement, above 0.
        seed: Of the labels; the same for every metric, as the order of a block is.
        sizes: Pairs of an experiment.

    Returns:
        One trial a size, or why there is none.
    """
    runs = np.asarray(values, dtype=float)
    if (invalid := _not_positive(runs)) is not None:
        return invalid
    if len(runs) < 2 * sizes[0]:
        return NotEstimable.of("few_runs_to_calibrate", n=len(runs), pairs=sizes[0], least=2 * sizes[0])
    usable = [m for m in sizes if m == sizes[0] or len(runs) >= 2 * m * _LEAST_EXPERIMENTS]
    return tuple(_trial(runs, m, seed) for m in usable)


def _not_positive(runs: np.ndarray) -> NotEstimable | None:
    bad = int(np.sum(~(np.isfinite(runs) & (runs > 0))))
    return NotEstimable.of("not_positive_of", n=bad, of=len(runs)) if bad else None


def _trial(runs: np.ndarray, m: int, seed: int) -> Trial:
    """Experiments of m pairs without reuse; then all windows, which reuse."""
    count = len(runs) // (2 * m)
    swapped = np.random.default_rng(seed).random(len(runs) // 2) < 0.5  # noqa: PLR2004 - a fair coin a block
    experiments = runs[: count * 2 * m].reshape(count, 2 * m)
    windows = np.lib.stride_tricks.sliding_window_view(runs, 2 * m)
    coins = np.random.default_rng([seed, m]).random((len(windows), m)) < 0.5  # noqa: PLR2004
    return Trial(
        m,
        rate_of(int(paired_rejects(experiments, swapped[: count * m].reshape(count, m)).sum()), count),
        rate_of(int(blocked_rejects(experiments).sum()), count),
        len(windows),
        float(paired_rejects(windows, coins).mean()),
        float(blocked_rejects(windows).mean()),
    )


def noise_of(values: Sequence[float]) -> Noise | NotEstimable:
    """The noise of consecutive runs of one arm, above 0; at least 4 of them."""
    runs = np.asarray(values, dtype=float)
    if len(runs) < 2 * _LEAST_EXPERIMENTS:
        return NotEstimable.of("few_runs_for_noise", n=len(runs))
    if (invalid := _not_positive(runs)) is not None:
        return invalid
    logs = np.diff(np.log(runs[: len(runs) // 2 * 2].reshape(-1, 2)))
    mean = float(runs.mean())
    cv_pct = 100 * float(runs.std(ddof=1)) / mean
    return Noise(len(runs), mean, cv_pct, len(logs), math.sqrt(float(np.mean(logs**2))))


def reach_of(noise: Noise, planned_pairs: int, margin: float | None) -> Reach:
    """What `planned_pairs` pairs can show with this noise, and how many a relative margin needs."""
    smallest = minimum_detectable(planned_pairs, noise.sd_log)
    needed = None if margin is None or not noise.sd_log else pairs_needed(noise.sd_log, margin)
    return Reach(planned_pairs, None if isinstance(smallest, NotEstimable) else 100 * smallest, margin, needed)


def course_of(values: Sequence[float]) -> Course:
    """Autocorrelation and drift of runs in the order of measurement; nothing of fewer than 5, or of a constant."""
    past, trend = memory(values), drift(values)
    if isinstance(past, NotEstimable):
        return Course()
    mean, variance = lag1_if_independent(past.n)
    p = 2 * float(special.ndtr(-abs(past.lag1 - mean) / math.sqrt(variance)))
    slope = (None, None) if isinstance(trend, NotEstimable) else (trend.pct_per_run.value, trend.p)
    return Course(past.lag1, p, past.effective_n, *slope)


def likely_cause(rate: Rate, course: Course, noise: Noise) -> str:
    """Why a paired design may miss its 5 %, in words: drift, autocorrelation, alternation, or nothing visible."""
    causes: list[str] = []
    if course.drift_p is not None and course.drift_p < _SUSPICIOUS and course.drift_pct_per_run is not None:
        causes.append(
            f"drift: {course.drift_pct_per_run:+.2g} % per run (Kendall p = {course.drift_p:.1g}), noise inside a block "
            f"{100 * noise.sd_log:.2g} %"
        )
    if course.lag1 is not None and course.lag1_p is not None and course.lag1_p < _SUSPICIOUS:
        what = "autocorrelation: runs resemble" if course.lag1 > 0 else "alternation: runs differ from"
        causes.append(f"{what} the run before (lag 1: {course.lag1:+.2f}, p = {course.lag1_p:.1g})")
    chance = float(scipy.stats.binom.sf(rate.rejections - 1, rate.experiments, LEVEL))
    counts = f"{rate.rejections} or more of {rate.experiments}"
    unseen = (
        f"no drift or autocorrelation: a jump, a few distant runs, or chance ({counts} with probability {chance:.2g})"
    )
    return "; ".join(causes) or unseen
