"""Statistics that SciPy computes, and the one Welch test of the package."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from sparkray.stats.independent import mann_whitney, normality, welch, welch_p


@pytest.mark.parametrize("rounded", [False, True])
def test_mann_whitney_counts_the_second_arm(rounded: bool) -> None:
    chance = np.random.default_rng(3)
    a, b = chance.normal(0, 2, 9), chance.normal(1, 2, 12)
    if rounded:
        a, b = np.round(a), np.round(b)
    expected = stats.mannwhitneyu(b, a)
    assert mann_whitney(a, b) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


def test_all_values_tied_show_no_difference() -> None:
    assert mann_whitney(np.full(9, 2.0), np.full(9, 2.0)) == (40.5, 1.0)


def test_normality_knows_no_unit() -> None:
    values = np.random.default_rng(4).normal(7.0, 0.1, 25)
    assert normality(values * 1e-30) == pytest.approx(normality(values), rel=1e-9)


def test_welch_is_scipys_and_says_where_there_is_none() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 7.0]), np.array([4.0, 5.0, 9.0])
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert welch(a, b) == pytest.approx((expected.statistic, expected.df, expected.pvalue))
    assert welch_p(1e12 * a, 1e12 * b) == pytest.approx(expected.pvalue)
    assert welch_p(np.ones(3), np.ones(3)) is None
    assert welch_p(a[:1], b) is None


def test_a_comparison_loads_scipys_functions_alone() -> None:
    code = """
import sys, numpy, sparkray.checks.steady
from sparkray.stats.effect import cohen
from sparkray.stats.independent import independent
from sparkray.stats.multiplicity import benjamini_hochberg
from sparkray.stats.power import minimum_detectable
from sparkray.stats.serial import drift
a, b = numpy.random.default_rng(1).lognormal(size=(2, 30)).round(1)
print(independent(a, b).test, cohen(a, b).power > 0, drift(a).n, benjamini_hochberg([0.1]), minimum_detectable(9, 0.1) > 0)
print([name for name in ("scipy.stats", "scipy.optimize", "scipy.interpolate") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert done == "mann_whitney True 30 [0.1] True\n[]\n"


LOADED_ALONE = """
import sys
from sparkray.stats import special
assert "scipy.special" not in sys.modules and "numpy.f2py" not in sys.modules
import scipy.special, scipy.stats
assert special.ndtr is scipy.special.ndtr and special.stdtrit is scipy.special.stdtrit
assert scipy.special._ufuncs.ndtr is special.ndtr and scipy.stats.norm.cdf(0) == 0.5
"""
LOADED_AFTER = """
import scipy.special
from sparkray.stats import special
assert special._FOUND is scipy.special and special.ndtr is scipy.special.ndtr
"""


@pytest.mark.parametrize("code", [LOADED_ALONE, LOADED_AFTER], ids=["alone", "after"])
def test_special_functions_are_scipys_own(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
