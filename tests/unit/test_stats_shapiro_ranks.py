"""Shapiro-Wilk, exact rank distributions and roots, held against SciPy's."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from sparkray.stats import NotEstimable
from sparkray.stats._ranks import inversions, wins
from sparkray.stats._root import root
from sparkray.stats.independent import mann_whitney
from sparkray.stats.serial import drift
from sparkray.stats.shapiro import shapiro_wilk


@pytest.mark.parametrize("n", [3, 4, 5, 6, 11, 12, 30, 500, 5000])
@pytest.mark.parametrize("law", ["normal", "exponential", "rounded"])
def test_shapiro_wilk_is_scipys(n: int, law: str) -> None:
    chance = np.random.default_rng(n)
    values = chance.exponential(3.0, n) if law == "exponential" else chance.normal(50.0, 3.0, n)
    if law == "rounded":
        values = np.round(values)
    w, p = shapiro_wilk(values)
    expected = stats.shapiro(values)
    assert w == pytest.approx(expected.statistic, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=1e-8, abs=1e-90)


def test_shapiro_wilk_knows_no_unit() -> None:
    values = np.random.default_rng(4).normal(7.0, 0.1, 25)
    assert shapiro_wilk(values * 1e-30) == pytest.approx(shapiro_wilk(values), rel=1e-9)


@pytest.mark.parametrize("n", [4, 12, 33, 34, 60])
@pytest.mark.parametrize("ties", ["none", "values", "both"])
def test_drift_is_theils_and_kendalls(n: int, ties: str) -> None:
    chance = np.random.default_rng(n)
    order = chance.permutation(3 * n)[:n].astype(float)
    values = 100 + 0.05 * order + chance.normal(0, 1, n)
    if ties != "none":
        values = np.round(values)
    if ties == "both":
        order = order // 4
    found, slope = drift(values, order), stats.theilslopes(values, order)
    assert not isinstance(found, NotEstimable)
    per_cent = 100 / float(np.median(values))
    assert found.pct_per_run.value == pytest.approx(slope.slope * per_cent, rel=1e-12)
    assert found.pct_per_run.low == pytest.approx(slope.low_slope * per_cent, rel=1e-12)
    assert found.pct_per_run.high == pytest.approx(slope.high_slope * per_cent, rel=1e-12)
    assert found.p == pytest.approx(stats.kendalltau(order, values).pvalue, rel=1e-9)


@pytest.mark.parametrize("sizes", [(3, 3), (8, 5), (4, 40), (9, 9), (30, 30)])
@pytest.mark.parametrize("rounded", [False, True])
def test_mann_whitney_is_scipys(sizes: tuple[int, int], rounded: bool) -> None:
    chance = np.random.default_rng(sum(sizes))
    a, b = chance.normal(0, 2, sizes[0]), chance.normal(1, 2, sizes[1])
    if rounded:
        a, b = np.round(a), np.round(b)
    expected = stats.mannwhitneyu(b, a)
    assert mann_whitney(a, b) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)


def test_all_values_tied_show_no_difference() -> None:
    assert mann_whitney(np.full(9, 2.0), np.full(9, 2.0)) == (40.5, 1.0)


def test_orders_of_three_are_counted_by_hand() -> None:
    assert inversions(3) == pytest.approx([1 / 6, 3 / 6, 5 / 6, 1.0])  # 123; 132, 213; 231, 312; 321
    assert wins(2, 1) == pytest.approx([1.0, 2 / 3, 1 / 3])


def test_a_root_is_brents() -> None:
    for low, high in ((0.0, 1.0), (1.0, 0.0)):
        assert root(lambda x: math.cos(x) - x, low, high) == pytest.approx(
            optimize.brentq(lambda x: math.cos(x) - x, 0, 1), abs=1e-12
        )
    assert root(lambda x: x**3 - 1e-3, -1.0, 2.0) == pytest.approx(0.1, abs=1e-10)
    assert root(lambda x: x, 0.0, 1.0) == 0.0
    with pytest.raises(ValueError, match="same sign"):
        root(lambda x: x * x + 1, -1.0, 1.0)
