"""Effect sizes and power against SciPy, statsmodels and tables in print; the noncentral t where SciPy has none."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from sparkray.stats import NotEstimable, noncentral
from sparkray.stats.effect import Effect, cohen, correction
from sparkray.stats.power import (
    minimum_detectable,
    paired_power,
    paired_runs,
    two_sample_power,
    two_sample_runs,
)

ARM = st.lists(st.floats(1, 100), min_size=3, max_size=12)


def sized(found: Effect | NotEstimable) -> Effect:
    assert isinstance(found, Effect)
    return found


@pytest.mark.parametrize("df", [1, 2, 3, 10, 58, 5000])
@pytest.mark.parametrize("noncentrality", [-3.0, 0.0, 0.5, 2.0, 8.0, 30.0])
def test_the_noncentral_t_is_scipys_where_scipy_has_one(df: int, noncentrality: float) -> None:
    points = [-4.0, -0.5, 0.0, 0.3, 1.0, 2.0, 5.0, 11.0, 29.0, 60.0]
    expected = {t: float(stats.nct.cdf(t, df, noncentrality)) for t in points}
    finite = {t: p for t, p in expected.items() if math.isfinite(p)}
    assert len(finite) >= 8
    for t, p in finite.items():
        assert noncentral.cdf(t, df, noncentrality) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize(("df", "noncentrality"), [(2, 50.0), (10, 300.0), (58, 40.0), (58, 2000.0)])
def test_the_noncentral_t_is_a_simulations_where_scipy_has_none(df: int, noncentrality: float) -> None:
    rng, rounds = np.random.default_rng(df), 200_000
    drawn = (rng.standard_normal(rounds) + noncentrality) / np.sqrt(rng.chisquare(df, rounds) / df)
    for q in (0.025, 0.5, 0.975):
        error = math.sqrt(q * (1 - q) / rounds)
        assert noncentral.cdf(float(np.quantile(drawn, q)), df, noncentrality) == pytest.approx(q, abs=5 * error)


def test_the_interval_of_a_noncentrality_is_kelleys() -> None:
    # Kelley (2007), "Confidence intervals for standardized effect sizes", J. Stat. Software 20 (8): t = 2.83, 126 degrees.
    low, high = map(float, noncentral.interval(2.83, 126))
    assert (round(low, 7), round(high, 6)) == (0.8337503, 4.815359)


@given(st.floats(-500, 500), st.integers(2, 200))
@settings(deadline=None)
def test_the_interval_leaves_its_share_in_each_tail(t: float, df: int) -> None:
    low, high = noncentral.interval(t, df)
    assert noncentral.cdf(t, df, low) == pytest.approx(0.975, abs=1e-9)
    assert noncentral.cdf(t, df, high) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize(
    ("df", "factor"), [(2, 0.564), (3, 0.724), (4, 0.798), (5, 0.841), (10, 0.923), (20, 0.962), (50, 0.985)]
)
def test_the_correction_is_that_of_hedges_and_olkins_table(df: int, factor: float) -> None:
    # Hedges and Olkin (1985), "Statistical Methods for Meta-Analysis", chapter 5, table 2: J(m).
    assert round(correction(df), 3) == factor


def test_students_sleep_data_have_the_effect_of_their_t() -> None:
    # Student (1908): t = 1.8608 on 18 degrees with 10 an arm, so d = t sqrt(2 / 10); g = d c(18).
    a = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    b = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = sized(cohen(a, b))
    assert found.d.value == pytest.approx(stats.ttest_ind(b, a).statistic * math.sqrt(0.2), rel=1e-12)
    assert found.g.value / found.d.value == pytest.approx(1 - 3 / (4 * 18 - 1), abs=2e-4)


@given(ARM, ARM)
def test_the_interval_excludes_0_when_the_t_test_does(a: list[float], b: list[float]) -> None:
    assume(np.ptp(a) > 1e-3)
    assume(np.ptp(b) > 1e-3)
    p = stats.ttest_ind(a, b).pvalue
    assume(abs(p - 0.05) > 1e-6)
    found = sized(cohen(a, b)).d
    assert (p < 0.05) == ((found.low or 0) > 0 or (found.high or 0) < 0)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=3, max_size=12))
def test_swapped_arms_flip_the_sign(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    assume(np.ptp(np.log(b / a)) > 1e-3)
    assume(np.ptp(a) > 1e-3)
    there, back = sized(cohen(a, b)), sized(cohen(b, a))
    assert there.d.value == pytest.approx(-back.d.value, rel=1e-9, abs=1e-12)
    assert there.g.low == pytest.approx(-(back.g.high or 0), rel=1e-7, abs=1e-9)


def test_an_effect_of_hundreds_of_deviations_has_an_interval() -> None:
    rng = np.random.default_rng(3)
    found = sized(cohen(rng.normal(80, 0.05, 30), rng.normal(100, 0.05, 30))).d
    assert (found.low or 0) < found.value < (found.high or 0)
    relative = 1.96 / math.sqrt(2 * 58)  # all the doubt is in the deviation that it is counted in
    assert (found.high or 0) / (found.low or 1) == pytest.approx((1 + relative) / (1 - relative), rel=0.01)


def test_the_intervals_cover_and_g_is_not_biased() -> None:
    rng, rounds, truth = np.random.default_rng(9), 1500, 0.8
    covered, g = 0, []
    for _ in range(rounds):
        found = sized(cohen(rng.normal(0, 1, 6), rng.normal(truth, 1, 9)))
        covered += (found.d.low or 0) <= truth <= (found.d.high or 0)
        g.append(found.g.value)
    assert covered / rounds == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / rounds))
    assert np.mean(g) == pytest.approx(truth, abs=4 * float(np.std(g)) / math.sqrt(rounds))


@pytest.mark.parametrize(
    ("d", "n_a", "n_b"), [(0.5, 64, 64), (0.2, 30, 50), (1.5, 5, 8), (0.0, 10, 10), (-0.8, 20, 20)]
)
def test_power_of_two_samples_is_statsmodels(d: float, n_a: int, n_b: int) -> None:
    expected = TTestIndPower().power(d, n_a, 0.05, ratio=n_b / n_a)
    assert two_sample_power(d, n_a, n_b) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("ratio", "sd", "n"), [(1.01, 0.014, 30), (0.99, 0.03, 12), (1.0, 0.01, 5), (1.002, 0.004, 30)]
)
def test_power_of_pairs_is_statsmodels(ratio: float, sd: float, n: int) -> None:
    expected = TTestPower().power(math.log(ratio) / sd, n, 0.05)
    assert paired_power(ratio, sd, n) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("d", "n"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_runs_an_arm_are_those_of_cohens_table(d: float, n: int) -> None:
    # Cohen (1992), "A power primer", Psychological Bulletin 112, table 2: 393 (rounded down), 64 and 26.
    assert two_sample_runs(d) == n


def test_what_no_number_of_runs_shows_has_no_number() -> None:
    assert two_sample_runs(0.0) is None
    assert paired_runs(1.0, 0.01) is None
    assert paired_runs(1.0001, 0.5) is None


@given(st.floats(0.001, 0.1), st.integers(2, 200))
@settings(deadline=None)
def test_the_minimum_detectable_ratio_has_the_power_that_was_asked(sd_log: float, n: int) -> None:
    found = minimum_detectable(n, sd_log)
    assert isinstance(found, float)
    assert found > 0
    assert paired_power(1 + found, sd_log, n) == pytest.approx(0.80, abs=1e-9)
    assert paired_power(1 / (1 + found), sd_log, n) == pytest.approx(0.80, abs=1e-9)


@given(st.floats(0.001, 0.05), st.floats(1.002, 1.2))
def test_the_number_of_pairs_is_the_least_with_that_power(sd_log: float, ratio: float) -> None:
    needed = paired_runs(ratio, sd_log)
    assert needed is not None
    assert paired_power(ratio, sd_log, needed) >= 0.80
    assert needed == 2 or paired_power(ratio, sd_log, needed - 1) < 0.80


def test_power_is_how_often_a_simulation_sees_the_difference() -> None:
    rng, rounds, n = np.random.default_rng(2), 20_000, 10
    logs = rng.normal(math.log(1.01), 0.012, (rounds, n))
    seen = np.mean(stats.ttest_1samp(logs, 0, axis=1).pvalue < 0.05)
    assert paired_power(1.01, 0.012, n) == pytest.approx(seen, abs=4 * math.sqrt(0.25 / rounds))


@pytest.mark.parametrize(("ratio", "sd", "n"), [(1.01, 0.01, 1), (0.0, 0.01, 5), (1.01, 0.0, 5)])
def test_power_of_nothing_is_refused(ratio: float, sd: float, n: int) -> None:
    with pytest.raises(ValueError, match="n at least 2"):
        paired_power(ratio, sd, n)


def test_power_of_one_run_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        two_sample_power(0.5, 1)
