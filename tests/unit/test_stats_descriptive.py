"""Summaries against SciPy, tables in print and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.descriptive import Summary, interval_ranks, least_for_ends, summary
from sparkray.stats.samples import Estimate

SAMPLE = st.lists(st.floats(0.1, 1e4), min_size=2, max_size=60)


def summed(values: list[float]) -> Summary:
    found = summary(values)
    assert isinstance(found, Summary)
    return found


@given(SAMPLE)
def test_mean_and_its_interval_are_those_of_a_t_test(values: list[float]) -> None:
    found = summed(values)
    error = stats.sem(values)
    assert found.mean.value == pytest.approx(np.mean(values), rel=1e-12)
    if error > 1e-9:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.mean.low, found.mean.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(SAMPLE)
def test_spread_and_quartiles_are_numpys(values: list[float]) -> None:
    found = summed(values)
    assert (found.n, found.min, found.max) == (len(values), min(values), max(values))
    assert (found.q1, found.q3) == pytest.approx(tuple(np.percentile(values, [25, 75])), rel=1e-12)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert found.cv_pct == pytest.approx(stats.variation(values, ddof=1) * 100, abs=1e-9)
    assert [found.median.value, found.p5.value, found.p95.value, found.p99.value] == pytest.approx(
        np.percentile(values, [50, 5, 95, 99]).tolist(), rel=1e-12
    )


@given(st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.5, 0.95, 0.99]), st.sampled_from([0.9, 0.95, 0.99]))
def test_ranks_of_an_interval_are_those_of_scipys_quantile_test(n: int, q: float, level: float) -> None:
    expected = stats.quantile_test(np.arange(1.0, n + 1), q=0, p=q).confidence_interval(level)
    found = interval_ranks(n, q, level)
    for rank, bound in zip(found, expected, strict=True):
        assert rank == (None if math.isnan(bound) else int(bound))


@pytest.mark.parametrize(
    ("n", "ranks"), [(5, (None, None)), (6, (1, 6)), (7, (1, 7)), (10, (2, 9)), (20, (6, 15)), (30, (10, 21))]
)
def test_ranks_of_the_median_are_those_of_le_boudecs_table(n: int, ranks: tuple[int | None, int | None]) -> None:
    # Le Boudec (2010), "Performance Evaluation of Computer and Communication Systems", table A.1, level 95 %.
    assert interval_ranks(n, 0.5) == ranks


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.95, 72), (0.99, 368)])
def test_a_tail_has_an_upper_bound_from_so_many_values_on(q: float, n: int) -> None:
    assert interval_ranks(n - 1, q)[1] is None
    assert interval_ranks(n, q)[1] == n


@pytest.mark.parametrize("q", [0.01, 0.05, 0.3, 0.5, 0.95, 0.99])
def test_an_end_is_there_from_the_least_number_of_values_on(q: float) -> None:
    for end, least in enumerate(least_for_ends(q)):
        assert interval_ranks(least - 1, q)[end] is None
        assert interval_ranks(least, q)[end] is not None


def test_thirty_runs_bound_the_median_and_not_the_99th_percentile() -> None:
    found = summed(np.arange(1.0, 31).tolist())
    assert found.median == Estimate(15.5, 10.0, 21.0)
    assert found.p99.high is None
    assert found.p5.low is None


@given(SAMPLE)
def test_the_geometric_mean_is_the_mean_of_logarithms(values: list[float]) -> None:
    found = summed(values).geometric_mean
    assert isinstance(found, Estimate)
    logs = np.log(values)
    assert found.value == pytest.approx(stats.gmean(values), rel=1e-12)
    if np.std(logs) > 1e-9:
        expected = stats.t.interval(0.95, len(logs) - 1, np.mean(logs), stats.sem(logs))
        assert np.log([found.low or 0, found.high or 0]) == pytest.approx(expected, abs=1e-9)


def test_one_value_has_a_place_and_no_spread() -> None:
    found = summed([3.0])
    assert (found.mean, found.median, found.sd, found.cv_pct) == (
        Estimate(3.0, None, None), Estimate(3.0, None, None), None, None,
    )  # fmt: skip


def test_a_mean_of_0_has_no_cv_and_a_negative_value_no_geometric_mean() -> None:
    found = summed([-1.0, 1.0])
    assert found.cv_pct is None
    assert isinstance(found.geometric_mean, NotEstimable)


@given(SAMPLE, st.floats(0.01, 100))
def test_another_unit_scales_everything_but_the_cv(values: list[float], factor: float) -> None:
    before, after = summed(values), summed([value * factor for value in values])
    assert after.cv_pct == pytest.approx(before.cv_pct, rel=1e-6, abs=1e-9)
    assert after.median.value == pytest.approx(before.median.value * factor, rel=1e-9)
    assert after.mean.high == pytest.approx((before.mean.high or 0) * factor, rel=1e-6, abs=1e-9)


def test_an_order_statistic_interval_covers_whatever_the_distribution() -> None:
    rng, rounds, n = np.random.default_rng(5), 4000, 40
    drawn = np.sort(rng.lognormal(0, 1.5, (rounds, n)), axis=1)
    for q in (0.5, 0.9):
        lower, upper = interval_ranks(n, q)
        assert lower is not None
        assert upper is not None
        truth = stats.lognorm.ppf(q, 1.5)
        covered = np.mean((drawn[:, lower - 1] <= truth) & (truth <= drawn[:, upper - 1]))
        exact = stats.binom.cdf(upper - 1, n, q) - stats.binom.cdf(lower - 1, n, q)
        assert exact >= 0.95
        assert covered == pytest.approx(exact, abs=4 * math.sqrt(0.05 * 0.95 / rounds))
