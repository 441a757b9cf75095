"""Outliers and differences in spread: worked numbers, SciPy, properties, simulation."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.outliers import WithAndWithout, modified_z, outlying, with_and_without
from sparkray.stats.paired import paired_ratio
from sparkray.stats.variance import PairedSpreadRatio, brown_forsythe, paired_spread_ratio

ARM = st.lists(st.floats(1, 100), min_size=3, max_size=20)
PAIRS = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=3, max_size=20)
QUIET = [100.0, 100.2, 99.9, 100.1, 99.8, 100.3, 100.0, 99.7]


def compared(found: WithAndWithout | NotEstimable) -> WithAndWithout:
    assert isinstance(found, WithAndWithout)
    return found


def paired_spread(found: PairedSpreadRatio | NotEstimable) -> PairedSpreadRatio:
    assert isinstance(found, PairedSpreadRatio)
    return found


def test_a_modified_z_by_hand() -> None:
    # median 5, absolute distances 3 2 1 0 1 2 95, their median 2
    found = modified_z([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 100.0])
    assert isinstance(found, np.ndarray)
    assert found == pytest.approx(np.array([-3, -2, -1, 0, 1, 2, 95]) * 0.6745 / 2, rel=1e-4)


@given(st.lists(st.floats(-100, 100), min_size=5, max_size=40))
def test_a_modified_z_is_the_distance_in_scipys_mad(values: list[float]) -> None:
    mad = stats.median_abs_deviation(values, scale="normal")
    assume(mad > 1e-6)
    found = modified_z(values)
    assert isinstance(found, np.ndarray)
    assert found == pytest.approx((np.array(values) - np.median(values)) / mad, rel=1e-9, abs=1e-9)


def test_where_most_values_are_alike_the_mean_deviation_serves() -> None:
    assert outlying([5.0] * 29 + [5.1]) == (29,)
    assert outlying([5.0] * 8) == ()


def test_a_single_wild_value_is_found_and_cannot_hide_a_second() -> None:
    assert outlying([*QUIET, 150.0, 400.0]) == (8, 9)
    assert outlying(QUIET) == ()
    assert outlying([*QUIET, 150.0], bound=1e6) == ()


def test_a_ratio_is_given_with_and_without() -> None:
    a, b = [*QUIET, 100.0], [*[1.0101 * x for x in QUIET[4:] + QUIET[:4]], 150.0]
    found = compared(with_and_without(a, b))
    assert found.dropped == (8,)
    assert found.every == paired_ratio(a, b)
    assert isinstance(found.without, type(found.every))
    assert (found.without.n, found.without.ratio) == (8, pytest.approx(1.0101))


def test_a_block_that_is_odd_in_both_arms_stays() -> None:
    a, b = list(QUIET), [1.01 * x for x in QUIET[4:] + QUIET[:4]]
    a[5], b[5] = a[5] * 3, b[5] * 3
    assert outlying(a) == (5,)
    found = compared(with_and_without(a, b))
    assert found.dropped == ()
    assert found.without is found.every


@given(ARM, ARM)
def test_equal_spread_is_tested_as_by_scipy(a: list[float], b: list[float]) -> None:
    assume(np.ptp(np.abs(np.array(a) - np.median(a))) > 1e-3)
    assert brown_forsythe(a, b) == pytest.approx(stats.levene(a, b, center="median").pvalue, rel=1e-7, abs=1e-12)


@given(PAIRS)
def test_equal_spread_of_pairs_is_that_of_sums_and_differences(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    assume(min(np.ptp(a), np.ptp(b), np.ptp(a + b), np.ptp(a - b)) > 0.1)
    assume(abs(np.corrcoef(a, b)[0, 1]) < 1 - 1e-6)
    found, back = paired_spread(paired_spread_ratio(a, b)), paired_spread(paired_spread_ratio(b, a))
    assert found.p == pytest.approx(stats.pearsonr(a + b, a - b).pvalue, rel=1e-5, abs=1e-9)
    assert found.ratio.value == pytest.approx(np.std(b) / np.std(a), rel=1e-9)
    assert found.ratio.low == pytest.approx(1 / (back.ratio.high or 1), rel=1e-7)


@given(PAIRS)
def test_the_interval_of_paired_spreads_excludes_1_when_the_test_rejects(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    assume(min(np.ptp(a), np.ptp(b)) > 0.1)
    found = paired_spread(paired_spread_ratio(a, b))
    assume(abs(found.p - 0.05) > 1e-6)
    assert (found.p < 0.05) == (not (found.ratio.low or 0) <= 1 <= (found.ratio.high or 0))


def test_a_unit_leaves_and_arms_in_proportion_are_certain() -> None:
    a, b = np.random.default_rng(3).normal(100, 2, (2, 12))
    before, after = paired_spread(paired_spread_ratio(a, b)), paired_spread(paired_spread_ratio(5 * a, 5 * b))
    assert (after.ratio.value, after.p) == pytest.approx((before.ratio.value, before.p), rel=1e-9)
    assert paired_spread(paired_spread_ratio(a, 2 * a)).p == pytest.approx(0, abs=1e-6)
    assert isinstance(paired_spread_ratio(a, a + 5), NotEstimable)


@pytest.mark.parametrize("factor", [1.1, 0.97, 1e-3])
def test_log_ratios_that_spread_by_rounding_alone_have_no_test_of_spread(factor: float) -> None:
    a = np.random.default_rng(3).normal(100, 2, 12)
    found = paired_spread_ratio(np.log(a), np.log(a * factor))
    assert isinstance(found, NotEstimable)
    assert found.reason == "differences_alike"


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e-6])
def test_rounding_of_equal_ratios_is_no_scale_for_outliers(unit: float) -> None:
    native, container = np.array([5, 4, 6, 5, 5.5]) * unit, np.array([5, 4.4, 6.6, 5.5, 5]) * unit
    assert compared(with_and_without(native, container)).dropped == ()
