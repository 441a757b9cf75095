"""Dependence between runs and where their variance comes from: statsmodels, SciPy, a table in print, simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.tsa.stattools import acf

from sparkray.stats import NotEstimable
from sparkray.stats.calibration import course_of
from sparkray.stats.components import Components, crossed, residual_share
from sparkray.stats.reasons import worded
from sparkray.stats.serial import Drift, Memory, drift, effective_n, lag1_if_independent, may_trend, memory, trend_p

SERIES = st.lists(st.floats(1, 100), min_size=5, max_size=40)
# Snedecor and Cochran (1989), "Statistical Methods", nested sampling: per cent of calcium in turnip greens, four plants,
# three leaves of each, two determinations of each leaf.


def remembered(values: object) -> Memory:
    found = memory(values)  # type: ignore[arg-type]
    assert isinstance(found, Memory)
    return found


def drifting(values: object, order: object = None) -> Drift:
    found = drift(values, order)  # type: ignore[arg-type]
    assert isinstance(found, Drift)
    return found


def divided(found: Components | NotEstimable) -> Components:
    assert isinstance(found, Components)
    return found


@given(SERIES)
def test_lag_1_is_statsmodels(values: list[float]) -> None:
    assume(np.ptp(values) > 1e-6)
    assert remembered(values).lag1 == pytest.approx(acf(values, nlags=1)[1], abs=1e-9)


def test_the_effective_number_is_what_the_mean_of_an_autoregression_is_worth() -> None:
    rng, r, n = np.random.default_rng(5), 0.6, 4000
    noise = rng.normal(size=(200, n))
    for place in range(1, n):
        noise[:, place] += r * noise[:, place - 1]
    found = np.mean([remembered(row).effective_n for row in noise])
    assert found == pytest.approx(n * 0.4 / 1.6, rel=0.02)
    assert found == pytest.approx(np.var(noise) / np.var(noise.mean(axis=1)), rel=0.25)


def test_runs_that_alternate_are_no_more_runs_than_there_are() -> None:
    found = remembered([1.0, 2.0] * 10)
    assert found.lag1 < -0.9
    assert found.effective_n == 20


def test_a_slow_wave_leaves_few_runs() -> None:
    assert remembered(np.sin(np.arange(40) / 10)).effective_n < 3


def test_a_drift_is_found_in_per_cent_a_run_and_one_wild_run_does_not_hide_it() -> None:
    values = 100 + 0.5 * np.arange(30.0) + np.random.default_rng(1).normal(0, 0.3, 30)
    values[29] = 20.0
    found = drifting(values)
    assert found.pct_per_run.value == pytest.approx(0.5 / 107 * 100, rel=0.05)
    assert found.p < 1e-5


def test_places_in_the_order_may_be_apart_and_shuffled() -> None:
    rng = np.random.default_rng(3)
    places = rng.permutation(40)[:20].astype(float)
    found = drifting(100 - places, places)
    middle = float(np.median(100 - places))
    assert found.pct_per_run.value == pytest.approx(-100 / middle)
    assert drifting(-(100 - places), places).pct_per_run == pytest.approx(found.pct_per_run)  # type: ignore[comparison-overlap]


def test_what_has_a_median_of_0_has_no_drift_in_per_cent() -> None:
    found = drift([-1.0, 0.0, 0.0, 1.0, 0.0])
    assert isinstance(found, NotEstimable)
    assert found == NotEstimable("median_0")


@pytest.mark.parametrize("order", [[1.0, 2.0, 3.0], [1.0] * 5, [1.0, 2.0, 3.0, 4.0, math.nan]])
def test_an_order_that_is_none_says_why(order: list[float]) -> None:
    assert isinstance(drift([1.0, 2.0, 3.0, 5.0, 4.0], order), NotEstimable)


def test_a_steady_machine_is_found_drifting_no_more_often_than_promised() -> None:
    rng, rounds = np.random.default_rng(9), 300
    wrong = sum(drifting(100 + row).p < 0.05 for row in rng.normal(0, 1, (rounds, 30)))
    assert 0.01 < wrong / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_a_crossed_table_has_the_components_of_its_two_way_analysis() -> None:
    table = np.random.default_rng(7).normal(100, 1, (12, 3)) + np.random.default_rng(8).normal(0, 2, (12, 1))
    found = divided(crossed(table))
    grand = table.mean()
    rows, columns = table.mean(axis=1) - grand, table.mean(axis=0) - grand
    ms_blocks = 3 * np.sum(rows**2) / 11
    ms_residual = (np.sum((table - grand) ** 2) - 3 * np.sum(rows**2) - 12 * np.sum(columns**2)) / 22
    assert found.within_block == pytest.approx(ms_residual, rel=1e-9)
    assert found.between_blocks == pytest.approx((ms_blocks - ms_residual) / 3, rel=1e-9)


def test_what_arms_differ_by_is_no_variance_between_blocks() -> None:
    table = np.random.default_rng(7).normal(100, 1, (12, 2))
    before, after = divided(crossed(table)), divided(crossed(table + np.array([0, 50])))
    assert (after.between_blocks, after.within_block) == pytest.approx((before.between_blocks, before.within_block))


def test_planted_components_are_found() -> None:
    rng, rounds, requests = np.random.default_rng(4), 400, 50
    blocks = rng.normal(0, 2, (rounds, 30, 1))
    runs = 100 + blocks + rng.normal(0, 1, (rounds, 30, 2)) + rng.normal(0, 5 / math.sqrt(requests), (rounds, 30, 2))
    found = [divided(crossed(table, request_share=25 / requests)) for table in runs]
    assert np.mean([each.between_blocks for each in found]) == pytest.approx(4, rel=0.05)
    assert np.mean([each.within_block for each in found]) == pytest.approx(1, rel=0.05)
    assert sum(share or 0 for share in found[0].shares_pct) == pytest.approx(100)


@pytest.mark.parametrize("share", [-1.0, math.nan, math.inf])
def test_a_variance_of_requests_that_is_none_says_so(share: float) -> None:
    assert isinstance(crossed([[1.0, 2.0], [2.0, 4.0]], request_share=share), NotEstimable)


def long(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of runs by requests as rows."""
    runs, requests = np.indices(table.shape)
    return table.ravel(), runs.ravel(), requests.ravel()


def test_the_residual_of_run_and_request_is_that_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(100, 1, (5, 7)) + rng.normal(0, 9, (1, 7)) + rng.normal(0, 3, (5, 1))
    values, runs, requests = long(table)
    frame = pd.DataFrame({"value": values, "run": runs, "request": requests})
    expected = ols("value ~ C(run) + C(request)", frame).fit().mse_resid
    assert residual_share(values, runs, requests) == pytest.approx(expected / 7, rel=1e-9)


def test_what_requests_differ_by_in_every_run_is_no_noise() -> None:
    table = np.random.default_rng(2).normal(100, 1, (6, 40))
    lengths = np.linspace(0, 500, 40)
    assert residual_share(*long(table + lengths)) == pytest.approx(residual_share(*long(table)), rel=1e-9)
    # The variance of requests in a run over their number, in its place, would explain more than there is.
    assert np.mean(np.var(table + lengths, axis=1, ddof=1)) / 40 > 100 * np.var(table.mean(axis=1), ddof=1)


def test_a_planted_residual_is_found_and_is_what_the_means_of_runs_scatter_by() -> None:
    rng, rounds = np.random.default_rng(3), 300
    tables = rng.normal(0, 5, (rounds, 10, 50)) + rng.normal(0, 30, (rounds, 1, 50))
    assert np.mean([residual_share(*long(table)) for table in tables]) == pytest.approx(25 / 50, rel=0.03)
    assert np.mean(np.var(tables.mean(axis=2), axis=1, ddof=1)) == pytest.approx(25 / 50, rel=0.1)


def test_requests_that_not_every_run_has_are_left_out() -> None:
    table = np.random.default_rng(4).normal(100, 1, (4, 9))
    values, runs, requests = long(table)
    kept = ~((runs == 2) & (requests == 5))
    less = residual_share(values[kept], runs[kept], requests[kept])
    assert less == pytest.approx(residual_share(*long(np.delete(table, 5, axis=1))))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (0, 0)])
def test_one_run_or_one_request_tells_nothing(shape: tuple[int, int]) -> None:
    found = residual_share(*long(np.ones(shape)))
    assert isinstance(found, NotEstimable)
    assert "at least 2 of both" in worded(found.reason)


def test_drift_is_theils_and_kendalls_in_per_cent_of_the_median() -> None:
    chance = np.random.default_rng(12)
    order = chance.permutation(36)[:12].astype(float) // 4
    values = np.round(100 + 0.5 * order + chance.normal(0, 1, 12))
    found, slope, per_cent = drifting(values, order), stats.theilslopes(values, order), 100 / float(np.median(values))
    expected = [per_cent * end for end in (slope.slope, slope.low_slope, slope.high_slope)]
    assert [found.pct_per_run.value, found.pct_per_run.low, found.pct_per_run.high] == pytest.approx(expected)
    assert found.p == stats.kendalltau(order, values).pvalue


TEN = np.array([101.8, 100.0, 99.2, 99.9, 100.2, 101.0, 100.5, 99.5, 100.4, 101.5])


def test_ten_values_are_worth_the_same_number_of_runs_everywhere() -> None:
    """Once 8.6 in an analysis and 5.5 in an audit: the sample's r is too low by (1 + 4 r) / n, which both now take off."""
    found = remembered(TEN)
    assert 10 * (1 - found.lag1) / (1 + found.lag1) == pytest.approx(8.60, abs=0.005)
    assert found.effective_n == pytest.approx(5.48, abs=0.005)
    assert course_of(TEN.tolist()).effective_n == found.effective_n


@pytest.mark.parametrize(("n", "rho", "worth"), [(10, 0.3, 5.76), (10, 0.6, 3.07), (30, 0.3, 16.5), (30, 0.6, 8.0)])
def test_few_runs_of_an_autoregression_are_not_worth_more_than_they_are(n: int, rho: float, worth: float) -> None:
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(4000, n))
    for place in range(1, n):
        rows[:, place] = rho * rows[:, place - 1] + math.sqrt(1 - rho**2) * rows[:, place]
    found = np.mean([remembered(row).effective_n for row in rows])
    assert found == pytest.approx(worth, rel=0.2)


def test_moments_of_lag_1_by_simulation() -> None:
    found = [remembered(row).lag1 for row in np.random.default_rng(1).normal(size=(4000, 10))]
    mean, variance = lag1_if_independent(10)
    assert np.mean(found) == pytest.approx(mean, abs=0.02)
    assert np.var(found) == pytest.approx(variance, rel=0.1)


def test_bounds_of_the_effective_number() -> None:
    assert effective_n(10, -0.1) == 10
    assert effective_n(100, 0.5) == pytest.approx(100 * (1 - 51 / 96) / (1 + 51 / 96))
    assert effective_n(10, 0.9) == 1


def test_a_trend_without_a_median_and_a_constant() -> None:
    assert trend_p(np.arange(10.0)) == pytest.approx(2 / 3628800)
    assert trend_p(np.ones(10)) == 1
    assert isinstance(memory([1.0, 2.0, 1.0, 2.0]), NotEstimable)


@pytest.mark.parametrize("n", [12, 300, 1500])
def test_a_series_that_may_have_a_trend_is_never_left_out(n: int) -> None:
    chance = np.random.default_rng(n)
    for slope, digits in ((0.0, 1), (0.0, 6), (3.0 / n, 1), (3.0 / n, 6)):
        values = np.round(chance.normal(size=n) + slope * np.arange(n), digits)
        p = trend_p(values)
        assert may_trend(values, 1e-3) or p >= 1e-3
        assert not may_trend(values, 1e-6) or p < 0.05
