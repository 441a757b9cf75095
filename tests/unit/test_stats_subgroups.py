"""Groups of models against each other: statsmodels' weighted regression, the pooled mean of one group, simulation."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st

from sparkray.stats import NotEstimable
from sparkray.stats.fieller import share
from sparkray.stats.reasons import worded
from sparkray.stats.regression import pooled
from sparkray.stats.samples import Estimate
from sparkray.stats.subgroups import Subgroups, subgroups

MEMBER = st.tuples(st.floats(-0.1, 0.1), st.floats(0.001, 0.05))
GROUPS = st.lists(st.lists(MEMBER, min_size=1, max_size=5), min_size=2, max_size=4)


def found(members: dict[str, list[tuple[float, float]]]) -> Subgroups:
    answer = subgroups(members)
    assert isinstance(answer, Subgroups)
    return answer


def named(groups: list[list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    return {f"g{place}": group for place, group in enumerate(groups)}


@given(GROUPS)
def test_means_and_differences_are_those_of_a_weighted_regression(groups: list[list[tuple[float, float]]]) -> None:
    effects = np.array([effect for group in groups for effect, _ in group])
    errors = np.array([error for group in groups for _, error in group])
    which = np.array([place for place, group in enumerate(groups) for _ in group])
    assume(len(effects) > len(groups))
    answer = found(named(groups))
    design = (which[:, None] == np.arange(len(groups))).astype(float)
    fitted = sm.WLS(effects, design, 1 / (errors**2 + answer.tau**2)).fit()
    assume(fitted.mse_resid > 1e-12)
    for place, group in enumerate(answer.groups.values()):
        interval = fitted.conf_int()[place]
        assert (group.mean.value, group.mean.low, group.mean.high) == pytest.approx(
            (fitted.params[place], *interval), rel=1e-6, abs=1e-9
        )
    for contrast in answer.contrasts:
        one, other = (int(name[1:]) for name in (contrast.first, contrast.second))
        tested = fitted.t_test(np.eye(len(groups))[other] - np.eye(len(groups))[one])
        assert contrast.p == pytest.approx(float(tested.pvalue), rel=1e-6, abs=1e-9)
        assert contrast.difference.low == pytest.approx(float(tested.conf_int()[0, 0]), rel=1e-6, abs=1e-9)


def test_one_group_is_the_pooled_mean() -> None:
    members = [(0.1, 0.02), (0.14, 0.03), (0.02, 0.01), (0.08, 0.02)]
    answer, expected = found({"all": members}), pooled([e for e, _ in members], [s for _, s in members])
    assert isinstance(expected, tuple)
    group, every = expected
    assert answer.groups["all"].mean == Estimate(*map(pytest.approx, vars(group.mean).values()))
    assert (answer.tau, answer.i2_pct) == pytest.approx((every.tau, every.i2_pct))
    assert (answer.groups["all"].q, answer.groups["all"].q_p) == pytest.approx((group.q, group.q_p))


def test_a_group_of_one_model_borrows_the_scatter_of_the_others() -> None:
    others = [(0.00, 0.001), (0.02, 0.001), (-0.02, 0.001)]
    answer = found({"alone": [(0.01, 0.001)], "others": others})
    alone = answer.groups["alone"]
    assert (alone.n, alone.q, alone.q_p) == (1, None, None)
    assert alone.mean.low is not None
    assert alone.mean.value - alone.mean.low > 20 * 0.001
    assert answer.df == 2
    assert answer.contrasts[0].p > 0.5


def test_groups_of_one_model_each_tell_nothing() -> None:
    answer = subgroups({"a": [(0.0, 0.001)], "b": [(0.5, 0.001)]})
    assert isinstance(answer, NotEstimable)
    assert worded(answer.reason) == "2 models in 2 groups: no group has two"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "has no model"),
        ({"a": [], "b": [(0.1, 0.1)]}, "has no model"),
        ({"a": [(0.1, 0.0), (0.2, 0.1)]}, "an error is not above 0"),
        ({"a": [(math.nan, 0.1), (0.2, 0.1)]}, "effects"),
        ({"a": [(0.1, 1e-30), (0.2, 0.1)]}, "lost in rounding"),
    ],
)
def test_what_has_no_answer_says_why(members: dict[str, list[tuple[float, float]]], why: str) -> None:
    answer = subgroups(members)
    assert isinstance(answer, NotEstimable)
    assert why in worded(answer.reason)


def test_swapping_groups_flips_the_difference_and_another_unit_scales_it() -> None:
    a, b = [(0.1, 0.02), (0.14, 0.03)], [(0.02, 0.01), (0.05, 0.02), (0.03, 0.02)]
    there, back = found({"a": a, "b": b}).contrasts[0], found({"b": b, "a": a}).contrasts[0]
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.p == pytest.approx(back.p)
    scaled = found({"a": [(e * 50, s * 50) for e, s in a], "b": [(e * 50, s * 50) for e, s in b]}).contrasts[0]
    assert scaled.difference.value == pytest.approx(50 * there.difference.value)
    assert scaled.p == pytest.approx(there.p)


@pytest.mark.parametrize("tau", [0.0, 0.02])
def test_groups_that_are_alike_are_called_different_in_at_most_5_percent(tau: float) -> None:
    rng, rounds, errors = np.random.default_rng(3), 800, np.full(10, 0.001)
    sizes = {"decoder": 5, "moe": 2, "efficient": 2, "reasoning": 1}
    wrong = apart = 0
    for row in rng.normal(0, tau, (rounds, 10)) + rng.normal(0, 1, (rounds, 10)) * errors:
        values = iter(zip(row.tolist(), errors.tolist(), strict=True))
        answer = found({name: [next(values) for _ in range(size)] for name, size in sizes.items()})
        wrong += answer.contrasts[0].p < 0.05
        alone, first = row[-1], row[:5]
        apart += abs(alone - first.mean()) > 1.96 * 0.001 * math.sqrt(1.2)
    assert wrong / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert apart / rounds > 0.3 or tau < 0.004  # what runs alone would have said


def test_a_difference_that_is_there_is_found() -> None:
    rng, errors = np.random.default_rng(4), 0.001
    seen = 0
    for _ in range(300):
        groups = {
            name: [(mean + rng.normal(0, 0.004), errors) for _ in range(5)] for name, mean in (("a", 0), ("b", 0.02))
        }
        seen += found(groups).contrasts[0].p < 0.05
    assert seen / 300 > 0.95


def test_fiellers_interval_covers_the_share_and_holds_the_shares_that_a_t_test_does_not_refuse() -> None:
    rng, rounds, covered = np.random.default_rng(6), 600, 0
    for _ in range(rounds):
        blocks = rng.normal(0, 0.002, 12)
        whole, part = 0.03 + blocks + rng.normal(0, 0.004, 12), 0.012 + blocks + rng.normal(0, 0.004, 12)
        answer = share(part, whole)
        assert isinstance(answer, Estimate)
        assert answer.low is not None
        assert answer.high is not None
        covered += answer.low <= 40 <= answer.high
        edge = part - answer.low / 100 * whole
        t = edge.mean() / (edge.std(ddof=1) / math.sqrt(12))
        assert abs(t) == pytest.approx(2.2009851600916384, rel=1e-6)
    assert covered / rounds == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / rounds))


@pytest.mark.parametrize(
    ("part", "whole", "why"),
    [
        ([0.1, 0.2], [0.1, 0.2], "at least 3"),
        ([0.1, 0.2, 0.3], [0.1, 0.2], "pairs are needed"),
        ([0.1, 0.2, 0.3], [1.0, -1.0, 0.1], "nothing to have a share of"),
        ([0.1, 0.2, 0.3], [1.0, 1.0, 1.0], "alike"),
        ([0.1, 0.2, math.nan], [1.0, 1.1, 1.0], "not a finite number"),
    ],
)
def test_a_share_of_nothing_says_why(part: list[float], whole: list[float], why: str) -> None:
    answer = share(part, whole)
    assert isinstance(answer, NotEstimable)
    assert why in worded(answer.reason)


@pytest.mark.parametrize("least", [7.8e-301, 1e-8])
def test_an_error_so_small_that_weights_are_lost_is_a_reason(least: float) -> None:
    assert pooled([0.0, 0.0, 0.0], [least, 1.0, 1.0]) == NotEstimable("errors_apart")
