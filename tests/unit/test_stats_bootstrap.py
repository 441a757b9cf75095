"""BCa against SciPy's on the same resamples, its symmetry, and how often it covers."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import _quantile, bca, ratio_of_means, ratios_of_means, resampled_means
from sparkray.stats.samples import Estimate, Vector, of_ordered

RNG = np.random.default_rng(77)
SKEWED, OTHER = RNG.lognormal(3, 0.6, 25), RNG.lognormal(3.2, 0.4, 18)
ARM = st.lists(st.floats(1, 100), min_size=3, max_size=15)


def estimated(found: Estimate | NotEstimable) -> tuple[float, float, float]:
    assert isinstance(found, Estimate)
    assert found.low is not None
    assert found.high is not None
    return found.value, found.low, found.high


def log_ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.log(np.mean(b, axis=axis)) - np.log(np.mean(a, axis=axis))


def of_scipy(data: tuple[np.ndarray, ...], statistic: object, distribution: np.ndarray) -> tuple[float, float]:
    """SciPy's BCa interval from a distribution that is given."""
    given = SimpleNamespace(bootstrap_distribution=distribution)
    found = stats.bootstrap(data, statistic, n_resamples=0, bootstrap_result=given, method="BCa")
    return found.confidence_interval


def test_the_ratio_of_two_samples_is_scipys_on_the_same_resamples() -> None:
    value, low, high = estimated(ratio_of_means(SKEWED, OTHER, seed=4))
    assert value == pytest.approx(np.mean(OTHER) / np.mean(SKEWED), rel=1e-12)
    assert np.mean(SKEWED) < np.mean(OTHER)  # which decides who draws from the first stream
    # one end has fewer than 100 of 10,000 resamples beyond it, so there are 20 times more
    drawn = [np.log(resampled_means(arm, 200_000, (4, stream))) for stream, arm in enumerate((SKEWED, OTHER))]
    expected = of_scipy((SKEWED, OTHER), log_ratio, drawn[1] - drawn[0])
    assert np.log([low, high]) == pytest.approx(list(expected), rel=1e-10)


def test_the_ratio_of_two_samples_is_scipys_on_its_own_resamples() -> None:
    _, low, high = estimated(ratio_of_means(SKEWED, OTHER, resamples=20_000))
    expected = stats.bootstrap((SKEWED, OTHER), log_ratio, n_resamples=20_000, rng=1, batch=2000).confidence_interval
    assert np.log([low, high]) == pytest.approx(list(expected), abs=0.03)  # bounds of 20,000 resamples scatter by 0.007


@given(ARM, ARM)
def test_swapped_arms_invert_the_interval(a: list[float], b: list[float]) -> None:
    assume(abs(np.mean(a) - np.mean(b)) > 1e-6)
    there, back = ratio_of_means(a, b, resamples=500), ratio_of_means(b, a, resamples=500)
    if isinstance(there, NotEstimable) or isinstance(back, NotEstimable):
        assert there == back
        return
    value, low, high = estimated(back)
    assert estimated(there) == pytest.approx((1 / value, 1 / high, 1 / low), rel=1e-9)


@given(ARM, ARM, st.floats(0.01, 100))
def test_another_unit_leaves_the_ratio(a: list[float], b: list[float], factor: float) -> None:
    assume(np.ptp(a) > 1e-3)
    assume(abs(np.mean(a) - np.mean(b)) > 1e-6)
    before = ratio_of_means(a, b, resamples=500)
    after = ratio_of_means([x * factor for x in a], [x * factor for x in b], resamples=500)
    assert estimated(after) == pytest.approx(estimated(before), rel=1e-6)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    first = ratio_of_means(SKEWED, OTHER, seed=1)
    assert ratio_of_means(SKEWED, OTHER, seed=1) == first
    assert ratio_of_means(SKEWED, OTHER, seed=2) != first


def test_every_resample_holds_n_values() -> None:
    assert resampled_means(np.ones(30), 1000, (0, 0)) == pytest.approx(np.ones(1000), rel=1e-12)
    drawn = resampled_means(np.arange(30.0), 10_000, (0, 0))
    assert np.mean(drawn) == pytest.approx(14.5, abs=4 * math.sqrt(74.9 / 30 / 10_000))
    assert np.var(drawn) == pytest.approx(74.9 / 30, rel=0.05)


def test_a_large_sample_is_resampled_in_parts() -> None:
    values = RNG.normal(50, 2, 2500)
    drawn = resampled_means(values, 1000, (3, 0))
    assert drawn.shape == (1000,)
    assert len(np.unique(drawn)) == 1000
    assert np.std(drawn) == pytest.approx(np.std(values) / 50, rel=0.1)


def test_the_same_places_are_drawn_of_every_sample() -> None:
    values = RNG.normal(50, 2, 12)
    drawn = resampled_means(np.stack([values, 3 * values]), 50, (3, 0))
    assert drawn[1] == pytest.approx(3 * drawn[0], rel=1e-12)


def test_many_pairs_at_once_have_the_intervals_of_each_alone() -> None:
    arms = [RNG.lognormal(3, 0.3, n) for n in (12, 12, 25, 12, 3, 12)]
    pairs = [(a, b) for a in arms for b in arms] + [([1.0], [2.0]), ([0.0, 1, 2], [1.0, 2, 3])]
    alone = [ratio_of_means(a, b, resamples=500) for a, b in pairs]
    for one, other in zip(ratios_of_means(pairs, resamples=500), alone, strict=True):
        if isinstance(other, NotEstimable):
            assert one == other
        else:
            assert estimated(one) == pytest.approx(estimated(other), rel=1e-12)


def test_resamples_on_one_side_measure_no_bias() -> None:
    found = bca(np.ones(100), 2.0, [np.arange(5.0)])
    assert found == NotEstimable("one_side")


def test_one_wild_value_gets_the_resamples_that_its_interval_needs() -> None:
    a, b = np.random.default_rng(4).normal(100, 1, (2, 30))
    a[3] *= 1.5
    found, exact = ratio_of_means(a, b), ratio_of_means(a, b, resamples=200_000)
    assert isinstance(found, Estimate)
    assert isinstance(exact, Estimate)
    assert found.low == pytest.approx(exact.low, abs=1e-9)


def test_the_interval_covers_the_ratio_of_means() -> None:
    rng, rounds, truth, covered = np.random.default_rng(12), 600, math.exp(0.1), 0
    for _ in range(rounds):
        _, low, high = estimated(ratio_of_means(rng.normal(100, 5, 30), rng.normal(100 * truth, 8, 30), resamples=2000))
        covered += low <= truth <= high
    assert 0.92 < covered / rounds < 0.98


@pytest.mark.parametrize(
    "order", [np.asarray, np.sort, np.round, np.zeros_like], ids=["any", "sorted", "ties", "alike"]
)
@pytest.mark.parametrize("n", [1, 2, 99, 20_000])
def test_a_quantile_without_sorting_is_that_of_sorted_values(n: int, order: Callable[[Vector], Vector]) -> None:
    values = order(np.random.default_rng(n).normal(size=n))
    ordered = np.sort(values)
    for q in (0.0, 1e-6, 0.004, 0.025, 0.5, 0.77, 0.9999, 1.0):
        assert _quantile(values, q) == of_ordered(ordered, q)
