"""Outliers and differences in spread: worked numbers, SciPy, properties, simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.outliers import WithAndWithout, first_is_apart, modified_z, outlying, with_and_without
from sparkray.stats.paired import paired_ratio
from sparkray.stats.variance import PairedSpreadRatio, SpreadRatio, brown_forsythe, paired_spread_ratio, spread_ratio

ARM = st.lists(st.floats(1, 100), min_size=3, max_size=20)
PAIRS = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=3, max_size=20)
QUIET = [100.0, 100.2, 99.9, 100.1, 99.8, 100.3, 100.0, 99.7]


def compared(found: WithAndWithout | NotEstimable) -> WithAndWithout:
    assert isinstance(found, WithAndWithout)
    return found


def spread(found: SpreadRatio | NotEstimable) -> SpreadRatio:
    assert isinstance(found, SpreadRatio)
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


@pytest.mark.parametrize(("first", "apart"), [(100.1, False), (80.0, True)])
def test_a_first_run_that_was_not_warm_is_seen(first: float, apart: bool) -> None:
    assert first_is_apart([first, *QUIET]) is apart
    assert first_is_apart([*QUIET, first]) is False


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


@settings(deadline=None, max_examples=60)
@given(ARM, ARM)
def test_equal_spread_is_tested_as_by_scipy(a: list[float], b: list[float]) -> None:
    assume(np.ptp(np.abs(np.array(a) - np.median(a))) > 1e-3)
    assert brown_forsythe(a, b) == pytest.approx(stats.levene(a, b, center="median").pvalue, rel=1e-7, abs=1e-12)


def test_a_ratio_of_spreads_has_the_interval_of_f() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(100, 1, 20), rng.normal(100, 2, 15)
    found = spread(spread_ratio(a, b)).ratio
    variances = np.var(b, ddof=1) / np.var(a, ddof=1)
    assert found.value == pytest.approx(math.sqrt(variances), rel=1e-12)
    assert found.low == pytest.approx(math.sqrt(variances / stats.f.ppf(0.975, 14, 19)), rel=1e-9)
    assert found.high == pytest.approx(math.sqrt(variances / stats.f.ppf(0.025, 14, 19)), rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(ARM, ARM)
def test_swapped_arms_invert_the_ratio_of_spreads(a: list[float], b: list[float]) -> None:
    assume(min(np.ptp(a), np.ptp(b)) > 1e-3)
    assume(abs(np.std(a) / np.std(b) - 1) > 1e-6)
    there, back = spread(spread_ratio(a, b, resamples=300)), spread(spread_ratio(b, a, resamples=300))
    assert there.ratio.low == pytest.approx(1 / (back.ratio.high or 1), rel=1e-7)
    assert isinstance(there.bootstrap, NotEstimable) == isinstance(back.bootstrap, NotEstimable)
    if not isinstance(there.bootstrap, NotEstimable) and not isinstance(back.bootstrap, NotEstimable):
        assert there.bootstrap.low == pytest.approx(1 / (back.bootstrap.high or 1), rel=1e-7)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_equal_spread_of_pairs_is_that_of_sums_and_differences(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    assume(min(np.ptp(a), np.ptp(b), np.ptp(a + b), np.ptp(a - b)) > 0.1)
    assume(abs(np.corrcoef(a, b)[0, 1]) < 1 - 1e-6)
    found, back = paired_spread(paired_spread_ratio(a, b)), paired_spread(paired_spread_ratio(b, a))
    assert found.p == pytest.approx(stats.pearsonr(a + b, a - b).pvalue, rel=1e-5, abs=1e-9)
    assert found.ratio.value == pytest.approx(np.std(b) / np.std(a), rel=1e-9)
    assert found.ratio.low == pytest.approx(1 / (back.ratio.high or 1), rel=1e-7)


@settings(deadline=None, max_examples=60)
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
    assert paired_spread(paired_spread_ratio(a, a + 5)).p == 1


def test_spreads_are_covered_and_pairing_helps() -> None:
    rng, rounds, covered, widths = np.random.default_rng(4), 800, np.zeros(2), np.zeros(2)
    for _ in range(rounds):
        block = rng.normal(0, 3, 25)
        a, b = block + rng.normal(0, 1, 25), 0.8 * (block + rng.normal(0, 1, 25))
        found = paired_spread(paired_spread_ratio(a, b)).ratio, spread(spread_ratio(a, b, resamples=20)).ratio
        widths += [math.log((each.high or 0) / (each.low or 1)) for each in found]
        apart = spread(spread_ratio(rng.normal(0, 1, 25), rng.normal(0, 0.8, 25), resamples=20)).ratio
        covered += [(each.low or 0) <= 0.8 <= (each.high or 0) for each in (found[0], apart)]
    assert covered / rounds == pytest.approx([0.95, 0.95], abs=4 * math.sqrt(0.05 * 0.95 / rounds))
    assert widths[0] < 0.6 * widths[1]


def test_too_few_values_have_a_ratio_of_spreads_without_a_bootstrap() -> None:
    found = spread(spread_ratio([1.0, 2.0, 3.0, 5.0], [1.0, 4.0, 2.0, 9.0]))
    assert isinstance(found.bootstrap, NotEstimable)
    assert found.ratio.value > 1


def test_an_arm_that_one_value_alone_spreads_has_no_bootstrap() -> None:
    found = spread(spread_ratio([5.0, 5.0, 5.0, 5.0, 5.0, 9.0], QUIET))
    assert isinstance(found.bootstrap, NotEstimable)
    assert "without one value" in found.bootstrap.reason
