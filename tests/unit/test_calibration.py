"""A/A pseudo-experiments: designs that are sound on independent runs, and what drift and autocorrelation do to each."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.calibration import (
    HEADLINE_PAIRS,
    PAIRS,
    Calibration,
    Course,
    Noise,
    Rate,
    Trial,
    blocked_rejects,
    calibrate,
    course_of,
    noise_of,
    paired_rejects,
    rate_of,
    trials,
)
from sparkray.stats.power import paired_power

SD = 0.02
RUNS = 120
Walk = Callable[[np.random.Generator, int], np.ndarray]


def independent(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def autoregressive(rng: np.random.Generator, n: int, rho: float = 0.6) -> np.ndarray:
    """Stationary from its first value, variance 1."""
    values = np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = rho * values[i - 1] + math.sqrt(1 - rho**2) * rng.normal()
    return values


def drifting(rng: np.random.Generator, n: int) -> np.ndarray:
    """A third of a standard deviation a run: a block's two runs are hardly apart, an experiment's halves are."""
    return rng.normal(size=n) + np.arange(n) / 3


def runs_of(walk: Walk, seed: int, n: int = RUNS) -> list[float]:
    return (100 * np.exp(SD * walk(np.random.default_rng(seed), n))).tolist()


def told(values: list[float], seed: int = 0, sizes: tuple[int, ...] = PAIRS) -> tuple[Trial, ...]:
    found = trials(values, seed=seed, sizes=sizes)
    assert not isinstance(found, NotEstimable)
    return found


def rates(walk: Walk, repeats: int = 40) -> tuple[Rate, Rate]:
    """Headline rejections of the paired and of the blocked design over simulated calibrations, 20 experiments each."""
    found = [told(runs_of(walk, seed), seed, (HEADLINE_PAIRS,))[0] for seed in range(repeats)]
    assert {trial.paired.experiments for trial in found} == {20}
    total = 20 * repeats
    return (
        rate_of(sum(t.paired.rejections for t in found), total),
        rate_of(sum(t.blocked.rejections for t in found), total),
    )


def test_both_designs_are_wrong_in_a_twentieth_of_experiments_on_independent_runs() -> None:
    for rate in rates(independent):
        assert rate.low < 0.05 < rate.high
        assert rate.high - rate.low < 0.04


@pytest.mark.parametrize(
    ("walk", "least"), [(autoregressive, 0.12), (drifting, 0.10)], ids=["autocorrelation", "drift"]
)
def test_what_lasts_from_run_to_run_deceives_the_blocked_design_and_not_the_paired_one(
    walk: Walk, least: float
) -> None:
    paired, blocked = rates(walk)
    assert blocked.low > least
    assert paired.low < 0.05
    assert paired.high < 0.07


def test_a_longer_blocked_experiment_is_worse_under_drift() -> None:
    by_size = {trial.pairs: trial.blocked.rate for trial in told(runs_of(drifting, 1))}
    assert by_size[3] < by_size[5] < by_size[10] == by_size[30] == 1.0


def test_experiments_share_no_run_and_use_all_that_fit() -> None:
    found = told(runs_of(independent, 3))
    assert [(trial.pairs, trial.paired.experiments, trial.windows) for trial in found] == [
        (3, 20, 115),
        (5, 12, 111),
        (10, 6, 101),
        (30, 2, 61),
    ]
    assert found[0].pairs == HEADLINE_PAIRS
    assert all(trial.blocked.experiments == trial.paired.experiments for trial in found)


def test_each_experiment_is_of_its_own_runs() -> None:
    """One pair of halves that differ, in runs 6 to 11: of the experiments of 3 pairs the second alone rejects."""
    runs = np.tile([1.000, 1.002, 1.001], 8)
    runs[9:12] *= 2
    trial = told(runs.tolist())[0]
    parts = np.split(runs, 4)
    assert [blocked_rejects(part) for part in parts] == [False, True, False, False]
    assert (trial.blocked.rejections, trial.blocked.experiments) == (1, 4)


def test_sizes_that_make_one_experiment_are_left_out_but_for_the_headline() -> None:
    assert [trial.pairs for trial in told(runs_of(independent, 1, 19))] == [3]
    assert [trial.pairs for trial in told(runs_of(independent, 1, 20))] == [3, 5]
    (only,) = told(runs_of(independent, 1, 6))
    assert (only.pairs, only.paired.experiments, only.windows) == (3, 1, 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0] * 5, "few_runs_to_calibrate?n=5&pairs=3&least=6"),
        ([1.0] * 9 + [0.0], "not_positive_of?n=1&of=10"),
        ([1.0] * 8 + [-1.0, math.inf], "not_positive_of?n=2&of=10"),
    ],
)
def test_what_cannot_be_judged_says_why(values: list[float], reason: str) -> None:
    assert trials(values, seed=0) == NotEstimable(reason)
    assert calibrate(values, Course(), planned_pairs=10, margin=0.01, seed=0) == NotEstimable(reason)


def test_the_paired_design_is_the_t_test_on_log_ratios_with_the_labels_as_drawn() -> None:
    rng = np.random.default_rng(11)
    seen = set()
    for _ in range(60):
        values, swapped = np.exp(0.1 * rng.normal(size=8) + 0.12 * (np.arange(8) % 2)), rng.random(4) < 0.3
        logs = np.diff(np.log(values.reshape(4, 2)))[:, 0] * np.where(swapped, -1, 1)
        rejects = bool(stats.ttest_1samp(logs, 0).pvalue < 0.05)
        assert paired_rejects(values, swapped) == rejects
        seen.add(rejects)
    assert seen == {True, False}


def test_the_blocked_design_is_students_t_test() -> None:
    rng = np.random.default_rng(12)
    seen = set()
    for shift in np.linspace(0, 3, 40):
        values = rng.normal(10, 1, 8) + shift * (np.arange(8) >= 4)
        rejects = bool(stats.ttest_ind(values[:4], values[4:]).pvalue < 0.05)
        assert blocked_rejects(values) == rejects
        seen.add(rejects)
    assert seen == {True, False}


def test_runs_that_do_not_vary_reject_nothing() -> None:
    trial = told([5.0] * 24)[0]
    assert (trial.paired.rejections, trial.blocked.rejections, trial.paired_reused, trial.blocked_reused) == (
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("rejections", "experiments", "low", "high", "excludes"),
    [
        (1, 20, 0.00127, 0.24873, False),
        (3, 20, 0.03207, 0.37893, False),
        (4, 20, 0.05733, 0.43661, True),
        (0, 20, 0.0, 0.16843, False),
        (0, 200, 0.0, 0.01828, True),
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(
    rejections: int, experiments: int, low: float, high: float, excludes: bool
) -> None:
    """Values by the beta quantiles of the definition."""
    rate = rate_of(rejections, experiments)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-5)
    assert rate.excludes_level is excludes
    if rejections:
        assert rate.low == pytest.approx(stats.beta.ppf(0.025, rejections, experiments - rejections + 1))


def test_the_same_seed_gives_the_same_labels_and_another_does_not() -> None:
    values = runs_of(drifting, 4)
    assert told(values, 7) == told(values, 7)
    assert len({tuple(t.paired_reused for t in told(values, seed)) for seed in range(5)}) > 1


def test_the_noise_is_that_of_a_pair_and_holds_an_effect_of_the_order() -> None:
    found = noise_of(runs_of(independent, 1, 4000))
    assert isinstance(found, Noise)
    assert found.sd_log == pytest.approx(math.sqrt(2) * SD, rel=0.05)
    assert found.cv_pct == pytest.approx(100 * SD, rel=0.05)
    assert (found.runs, found.pairs) == (4000, 2000)
    alternating = noise_of([100.0, 110.0] * 10)
    assert isinstance(alternating, Noise)
    assert alternating.sd_log == pytest.approx(math.log(1.1))
    assert noise_of([1.0, 2.0, 3.0]) == NotEstimable("few_runs_for_noise?n=3")


def whole(values: list[float], course: Course | None = None, **asked: float | None) -> Calibration:
    found = calibrate(values, course or Course(), **{"planned_pairs": 10, "margin": 0.01, "seed": 0, **asked})  # type: ignore[arg-type]
    assert isinstance(found, Calibration)
    return found


def test_the_smallest_effect_is_the_one_with_that_power_at_the_planned_pairs() -> None:
    found = whole(runs_of(independent, 2))
    assert found.reach.smallest_pct is not None
    power = paired_power(1 + found.reach.smallest_pct / 100, found.noise.sd_log, 10)
    assert power == pytest.approx(0.80, abs=1e-6)
    more = whole(runs_of(independent, 2), planned_pairs=40).reach
    assert more.smallest_pct is not None
    assert more.smallest_pct < found.reach.smallest_pct / 2


def test_a_narrower_margin_needs_more_pairs_and_none_needs_none() -> None:
    values = runs_of(independent, 2)
    needed = [whole(values, margin=margin).reach.pairs_needed for margin in (0.05, 0.02, 0.01)]
    assert None not in needed
    assert needed == sorted(set(needed))  # type: ignore[type-var]
    assert whole(values, margin=None).reach.pairs_needed is None
    assert whole([5.0] * 24).reach.smallest_pct is None


def test_drift_is_the_slope_of_theil_and_sen() -> None:
    line = [100 + 0.5 * k for k in range(21)]
    assert course_of(line).drift_pct_per_run == pytest.approx(100 * 0.5 / 105)
    assert course_of([*line[:-1], 900.0]).drift_pct_per_run == pytest.approx(100 * 0.5 / 105, rel=0.02)
    assert course_of([1.0]).drift_pct_per_run is None


STEEP = [100 * 1.05**k * (1 + 1e-9 * (k % 3)) for k in range(RUNS)]
"""Drift so strong against the noise that three blocks agree whenever their coins do: one experiment in four."""


@pytest.mark.parametrize(
    ("course", "cause"),
    [
        (Course(0.1, 0.3, 100.0, 5.0, 1e-9), r"^drift: \+5 % per run \(Kendall p = 1e-09\), noise inside a block"),
        (Course(0.7, 1e-6, 21.0, 0.1, 0.4), r"^autocorrelation: .* \(lag 1: \+0\.70, p = 1e-06\)$"),
        (Course(-0.7, 1e-6, 120.0, 0.1, 0.4), r"^alternation: .* \(lag 1: -0\.70, p = 1e-06\)$"),
        (Course(0.7, 1e-6, 21.0, 5.0, 1e-9), r"^drift: .*; autocorrelation: "),
        (Course(0.1, 0.3, 100.0, 0.0, 0.5), r"^no drift or autocorrelation: .* of 20 with probability"),
        (Course(), r"^no drift or autocorrelation"),
    ],
)
def test_a_paired_design_that_fails_says_the_likely_cause(course: Course, cause: str) -> None:
    found = whole(STEEP, course, seed=8)
    assert found.headline.paired.low > 0.05
    assert found.cause is not None
    assert re.search(cause, found.cause), found.cause


def test_a_paired_design_that_holds_has_no_cause_to_tell() -> None:
    found = whole(runs_of(autoregressive, 1), Course(0.6, 1e-9, 30.0, 0.2, 1e-4))
    assert found.cause is None
