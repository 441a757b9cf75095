"""The protocol's own tests against SciPy, worked examples in print, and the rule that chooses among them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.independent import Independent, independent, mann_whitney, normality, student, welch
from sparkray.stats.variance import brown_forsythe

ARM = st.lists(st.integers(1, 10**6).map(lambda made: made / 1000), min_size=3, max_size=30)

# Student (1908), "The probable error of a mean", Biometrika 6: additional hours of sleep, ten patients, two drugs.
SLEEP_A = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_B = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
# Hollander and Wolfe (1973), "Nonparametric Statistical Methods", table 4.1: permeability constants.
TERM = np.array([0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46])
EARLIER = np.array([1.15, 0.88, 0.90, 0.74, 1.21])
# Shapiro and Wilk (1965), Biometrika 52, section 5: weights of eleven men, in pounds.
WEIGHTS = np.array([148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236], dtype=float)


def answer(a: object, b: object) -> Independent:
    found = independent(a, b)  # type: ignore[arg-type]
    assert isinstance(found, Independent)
    return found


def normal(n: int, mean: float, sd: float) -> np.ndarray:
    """A sample as normal as n values can be."""
    return mean + sd * stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)


def test_students_sleep_data_give_the_printed_welch() -> None:
    # As printed by R's documentation of `sleep`: t = -1.8608, df = 17.776, p-value = 0.07939, first minus second.
    t, df, p = welch(SLEEP_A, SLEEP_B)
    assert (round(t, 4), round(df, 3), round(p, 5)) == (1.8608, 17.776, 0.07939)


def test_students_sleep_data_give_the_printed_student() -> None:
    # R, `t.test(extra ~ group, var.equal = TRUE)`: t = -1.8608, df = 18, p-value = 0.07919.
    t, df, p = student(SLEEP_A, SLEEP_B)
    assert (round(t, 4), df, round(p, 5)) == (1.8608, 18, 0.07919)


def test_hollander_and_wolfes_example_gives_the_printed_mann_whitney() -> None:
    # W = 35, one-sided p = 0.1272: pairs in which the first is greater.
    u, p = mann_whitney(EARLIER, TERM)
    assert (u, round(p / 2, 4)) == (35, 0.1272)


def test_shapiro_and_wilks_example_is_found_not_normal() -> None:
    # W = 0.79, below the 1 % point of their table.
    assert stats.shapiro(WEIGHTS).statistic == pytest.approx(0.79, abs=0.005)
    assert normality(WEIGHTS) == pytest.approx(stats.shapiro(WEIGHTS).pvalue, rel=1e-8)
    assert normality(WEIGHTS) < 0.01  # type: ignore[operator]


@given(ARM, ARM)
@settings(deadline=None)
def test_statistics_are_scipys(a: list[float], b: list[float]) -> None:
    first, second = np.array(a), np.array(b)
    assume(min(np.ptp(first), np.ptp(second)) > 1e-3)
    for ours, equal in ((student, True), (welch, False)):
        expected = stats.ttest_ind(second, first, equal_var=equal)
        assert ours(first, second) == pytest.approx((expected.statistic, expected.df, expected.pvalue), rel=1e-8)
    assert normality(first) == pytest.approx(stats.shapiro(first).pvalue, rel=1e-6)
    levene = brown_forsythe(first, second)
    if not isinstance(levene, NotEstimable):
        assert levene == pytest.approx(stats.levene(first, second, center="median").pvalue, rel=1e-8)


@given(ARM, ARM)
def test_swapped_arms_flip_the_sign_and_nothing_else(a: list[float], b: list[float]) -> None:
    assume(np.ptp(a) > 0)
    assume(np.ptp(b) > 0)
    there, back = answer(a, b), answer(b, a)
    assert (there.test, there.p) == (back.test, pytest.approx(back.p, rel=1e-9))
    assert (there.shapiro_p_a, there.levene_p) == (
        back.shapiro_p_b, None if back.levene_p is None else pytest.approx(back.levene_p, rel=1e-9),
    )  # fmt: skip
    mirrored = len(a) * len(b) - back.statistic if there.test == "mann_whitney" else -back.statistic
    assert there.statistic == pytest.approx(mirrored, rel=1e-9, abs=1e-9)


def test_normal_arms_that_spread_alike_are_students() -> None:
    found = answer(normal(30, 100, 1), normal(30, 101, 1))
    assert (found.test, found.df) == ("student", 58.0)
    assert found.rule == "equal_spread"


def test_normal_arms_that_spread_apart_are_welchs() -> None:
    found = answer(normal(30, 100, 1), normal(30, 101, 5))
    assert found.test == "welch"
    assert found.levene_p is not None
    assert found.levene_p < 0.05
    assert found.rule == "unequal_spread"


@pytest.mark.parametrize("swapped", [False, True])
def test_an_arm_that_is_not_normal_is_mann_and_whitneys(swapped: bool) -> None:
    skewed, plain = np.exp(normal(30, 3, 1)), normal(30, 101, 5)
    found = answer(*((plain, skewed) if swapped else (skewed, plain)))
    assert (found.test, found.df) == ("mann_whitney", None)
    assert found.rule == ("not_normal_b" if swapped else "not_normal_a")


def test_an_arm_whose_values_are_all_alike_cannot_be_tested_for_normality() -> None:
    found = answer([5.0] * 10, normal(10, 6, 1))
    assert (found.test, found.shapiro_p_a) == ("mann_whitney", None)
    assert found.rule == "normality_untested_a"


def test_the_level_of_the_checks_chooses() -> None:
    a, b = normal(12, 100, 1), normal(12, 100, 1.9)
    p = brown_forsythe(a, b)
    assert not isinstance(p, NotEstimable)
    assert 0.01 < p < 0.2
    assert answer(a, b).test != independent(a, b, alpha=p * 1.01 if p > 0.05 else p * 0.99).test  # type: ignore[union-attr]


def test_a_small_unit_makes_no_sample_less_normal() -> None:
    values = np.random.default_rng(1).normal(100, 1, 30)
    assert normality(values * 1e-21) == pytest.approx(normality(values), rel=1e-6)


def test_levels_are_held_where_the_arms_are_alike() -> None:
    rng, rounds = np.random.default_rng(8), 250
    wrong = sum(answer(rng.normal(100, 1, 12), rng.normal(100, 1, 12)).p < 0.05 for _ in range(rounds))
    assert 0.02 < wrong / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
