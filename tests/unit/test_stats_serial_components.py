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
from sparkray.stats.components import Components, crossed, nested, residual_share
from sparkray.stats.serial import Drift, Memory, drift, memory

SERIES = st.lists(st.floats(1, 100), min_size=4, max_size=40)
# Snedecor and Cochran (1989), "Statistical Methods", nested sampling: per cent of calcium in turnip greens, four plants,
# three leaves of each, two determinations of each leaf.
TURNIPS = {
    "1a": (3.28, 3.09), "1b": (3.52, 3.48), "1c": (2.88, 2.80), "2a": (2.46, 2.44), "2b": (1.87, 1.92), "2c": (2.19, 2.19),
    "3a": (2.77, 2.66), "3b": (3.74, 3.44), "3c": (2.55, 2.55), "4a": (3.78, 3.87), "4b": (4.07, 4.12), "4c": (3.31, 3.31),
}  # fmt: skip


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


@given(SERIES)
def test_a_slope_is_scipys(values: list[float]) -> None:
    assume(np.ptp(values) > 1e-6)
    found, middle = drifting(values), float(np.median(values))
    expected = stats.theilslopes(values)
    assert found.pct_per_run.value == pytest.approx(expected.slope / middle * 100, rel=1e-9, abs=1e-12)
    assert found.pct_per_run.low == pytest.approx(expected.low_slope / middle * 100, rel=1e-9, abs=1e-12)
    assert found.p == pytest.approx(stats.kendalltau(np.arange(len(values)), values).pvalue, rel=1e-9)


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
    assert "median is 0" in found.reason


@pytest.mark.parametrize("order", [[1.0, 2.0, 3.0], [1.0] * 5, [1.0, 2.0, 3.0, 4.0, math.nan]])
def test_an_order_that_is_none_says_why(order: list[float]) -> None:
    assert isinstance(drift([1.0, 2.0, 3.0, 5.0, 4.0], order), NotEstimable)


def test_a_steady_machine_is_found_drifting_no_more_often_than_promised() -> None:
    rng, rounds = np.random.default_rng(9), 1000
    wrong = sum(drifting(100 + row).p < 0.05 for row in rng.normal(0, 1, (rounds, 30)))
    assert 0.02 < wrong / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_the_calcium_of_turnip_greens_has_the_printed_components() -> None:
    # Printed: determinations 0.0067, leaves 0.1610 (mean squares 0.3288 and 0.0067), plants 0.3652 (mean square 2.5201).
    leaves = divided(
        nested([x for pair in TURNIPS.values() for x in pair], [leaf for leaf in TURNIPS for _ in range(2)])
    )
    assert leaves.within_block == pytest.approx(0.0067, abs=5e-5)
    means = [sum(pair) / 2 for pair in TURNIPS.values()]
    plants = divided(nested(means, [leaf[0] for leaf in TURNIPS], request_share=leaves.within_block / 2))
    assert plants.within_block == pytest.approx(0.161, abs=5e-4)
    assert plants.between_blocks == pytest.approx(0.3652, abs=5e-4)
    assert plants.requests == pytest.approx(0.0067 / 2, abs=5e-5)


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


def test_blocks_of_unlike_size_are_weighed() -> None:
    rng, rounds = np.random.default_rng(14), 400
    names = [block for block, size in enumerate([2, 3, 4, 5, 6] * 3) for _ in range(size)]
    effects = rng.normal(0, 2, (rounds, 15))
    found = [divided(nested(100 + row[names] + rng.normal(0, 1, len(names)), names)) for row in effects]
    assert np.mean([each.between_blocks for each in found]) == pytest.approx(4, rel=0.06)
    assert np.mean([each.within_block for each in found]) == pytest.approx(1, rel=0.06)


def test_a_component_is_never_negative() -> None:
    found = divided(nested([1.0, 3.0, 1.0, 3.0], ["x", "x", "y", "y"], request_share=9.0))
    assert (found.between_blocks, found.within_block, found.requests) == (0, 0, 9)
    assert found.shares_pct == (0, 0, 100)


def test_requests_whose_variance_is_unknown_have_no_share() -> None:
    assert divided(nested([1.0, 3.0, 1.0, 4.0], [1, 1, 2, 2])).shares_pct[2] is None


@pytest.mark.parametrize(
    ("values", "blocks", "reason"),
    [
        ([1.0, 2.0], [1, 2], "at least 2 blocks"),
        ([1.0, 2.0], [1, 1], "at least 2 blocks"),
        ([1.0, 2.0], [1], "one block a value"),
        ([1.0, 1.0, 1.0, 1.0], [1, 1, 2, 2], "alike"),
    ],
)
def test_what_has_no_components_says_why(values: list[float], blocks: list[int], reason: str) -> None:
    found = nested(values, blocks)
    assert isinstance(found, NotEstimable)
    assert reason in found.reason


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
    assert "at least 2 of both" in found.reason
