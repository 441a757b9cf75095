"""The paired ratio against SciPy's own intervals, the verdicts at their bounds, and power against simulation."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.descriptive import Description, describe
from sparkray.stats.paired import Ratio, decide, outlook, paired_ratio, pairs_needed, tost_power
from sparkray.stats.reasons import worded

VALUE = st.floats(1e-3, 1e3)


def noisy(pairs: Sequence[tuple[float, ...]]) -> bool:
    """Whether the ratios differ by more than rounding: alike ones have no interval."""
    return float(np.ptp([math.log(b / a) for a, b, *_ in pairs])) > 1e-9


PAIRS = st.lists(st.tuples(VALUE, VALUE), min_size=2, max_size=40).filter(noisy)
MARGIN = 0.05
LOW, HIGH = 1 / (1 + MARGIN), 1 + MARGIN


def arms(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio_of(a: Sequence[float], b: Sequence[float]) -> Ratio:
    found = paired_ratio(a, b)
    assert isinstance(found, Ratio)
    return found


def ratio(ci95: tuple[float, float], ci90: tuple[float, float], sd_log: float = 0.02) -> Ratio:
    return Ratio(10, math.sqrt(ci95[0] * ci95[1]), ci95, ci90, sd_log)


@given(PAIRS)
def test_ratio_and_intervals_are_those_of_a_t_test_on_logs(pairs: list[tuple[float, float]]) -> None:
    a, b = arms(pairs)
    logs = np.log(b) - np.log(a)
    assume(np.std(logs) > 1e-6)  # SciPy warns of lost precision where all are alike
    found, reference = ratio_of(a, b), stats.ttest_1samp(logs, 0)
    assert found.n == len(pairs)
    assert found.ratio == pytest.approx(stats.gmean(b) / stats.gmean(a), rel=1e-12)
    for level, interval in ((0.95, found.ci95), (0.90, found.ci90)):
        expected = reference.confidence_interval(level)
        assert np.log(interval) == pytest.approx([expected.low, expected.high], rel=1e-12, abs=1e-12)


def test_whether_one_is_excluded_is_the_t_test() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for shift in np.linspace(0, 0.03, 40):
        logs = rng.normal(shift, 0.02, 12)
        found = ratio_of(np.ones(12).tolist(), np.exp(logs).tolist())
        assert found.excludes_one == (stats.ttest_1samp(logs, 0).pvalue < 0.05)
        seen.add(found.excludes_one)
    assert seen == {True, False}


@given(PAIRS)
def test_the_other_arm_first_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    a, b = arms(pairs)
    there, back = ratio_of(a, b), ratio_of(b, a)
    assert there.ratio * back.ratio == pytest.approx(1, rel=1e-9)
    assert (1 / back.ci95[1], 1 / back.ci95[0]) == pytest.approx(there.ci95, rel=1e-9)
    assert (1 / back.ci90[1], 1 / back.ci90[0]) == pytest.approx(there.ci90, rel=1e-9)
    assert there.sd_log == pytest.approx(back.sd_log, rel=1e-9, abs=1e-12)


@given(PAIRS, st.floats(1e-3, 1e3))
def test_another_unit_leaves_the_ratio(pairs: list[tuple[float, float]], factor: float) -> None:
    a, b = arms(pairs)
    before, after = ratio_of(a, b), ratio_of([x * factor for x in a], [x * factor for x in b])
    assert (*after.ci95, *after.ci90, after.ratio) == pytest.approx(
        (*before.ci95, *before.ci90, before.ratio), rel=1e-9
    )


@given(st.lists(st.tuples(VALUE, VALUE, st.floats(0.1, 10)), min_size=2, max_size=20).filter(noisy))
def test_what_a_block_does_to_both_arms_leaves_the_ratio(blocks: list[tuple[float, float, float]]) -> None:
    before = ratio_of([a for a, _, _ in blocks], [b for _, b, _ in blocks])
    after = ratio_of([a * effect for a, _, effect in blocks], [b * effect for _, b, effect in blocks])
    assert (*after.ci95, after.ratio) == pytest.approx((*before.ci95, before.ratio), rel=1e-9)


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_blocks_leaves_the_ratio(pairs: list[tuple[float, float]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ratio_of(*arms(shuffled)).ci95 == pytest.approx(ratio_of(*arms(pairs)).ci95, rel=1e-9)


@given(PAIRS)
def test_the_wider_interval_holds_the_narrower_and_both_the_ratio(pairs: list[tuple[float, float]]) -> None:
    found = ratio_of(*arms(pairs))
    bounds = [found.ci95[0], found.ci90[0], found.ratio, found.ci90[1], found.ci95[1]]
    assert all(low <= high * (1 + 1e-12) for low, high in pairwise(bounds))


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([], [], "0 complete pairs"),
        ([1.0], [2.0], "1 complete pair:"),
        ([1.0, 0.0], [1.0, 1.0], "not a finite number above 0"),
        ([1.0, 1.0], [1.0, -1.0], "not a finite number above 0"),
        ([1.0, math.nan], [1.0, 1.0], "not a finite number above 0"),
        ([1.0, 1.0], [1.0, math.inf], "not a finite number above 0"),
    ],
)
def test_what_cannot_be_estimated_says_why(a: list[float], b: list[float], reason: str) -> None:
    found = paired_ratio(a, b)
    assert isinstance(found, NotEstimable)
    assert reason in worded(found.reason)


def test_arms_of_different_lengths_are_no_pairs() -> None:
    found = paired_ratio([1.0, 2.0], [1.0])
    assert isinstance(found, NotEstimable)
    assert "2 values against 1" in worded(found.reason)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([100.0] * 2, [100.0] * 2),
        ([100.0] * 1000, [99.0] * 1000),
        ([1.0, 2.0, 3.3], [1.0, 2.0, 3.3]),
        ([0.1, 0.7, 1e5], [0.1 * 1.013, 0.7 * 1.013, 1e5 * 1.013]),
    ],
    ids=["two pairs", "a thousand pairs", "the same values", "proportional values"],
)
def test_ratios_that_are_all_alike_have_no_interval_however_many_they_are(a: list[float], b: list[float]) -> None:
    assert paired_ratio(a, b) == NotEstimable("no_spread")


def test_one_arm_without_noise_leaves_the_ratios_that_of_the_other() -> None:
    found = ratio_of([100.0] * 3, [100.0, 101.0, 99.5])
    assert found.ci95[0] < 1 < found.ci95[1]


@given(PAIRS)
def test_the_p_is_that_of_the_paired_t_test_on_logs(pairs: list[tuple[float, float]]) -> None:
    a, b = arms(pairs)
    assume(np.std(np.log(b) - np.log(a)) > 1e-6)
    found = ratio_of(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(np.log(b), np.log(a)).pvalue, rel=1e-7, abs=1e-12)
    assert (found.p < 0.05) == found.excludes_one


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (None, "more than 100,000 pairs would be needed"),
        (44, "44 pairs would decide if the true ratio is 1"),
        (6, "6 pairs would decide a ratio of 1: the true one is near the margin"),
    ],
)
def test_what_would_decide_in_words(needed: int | None, said: str) -> None:
    assert said in worded(outlook(needed, 30))


EPS = 1e-9
REGIONS = [
    ("equivalent", (0.90, 1.10), (LOW, HIGH)),
    ("equivalent", (0.999, 1.001), (0.9995, 1.0005)),
    ("equivalent", (1.01, 1.03), (1.012, 1.028)),
    ("undecided", (0.90, 1.10), (LOW - EPS, HIGH)),
    ("undecided", (0.90, 1.10), (LOW, HIGH + EPS)),
    ("undecided", (HIGH, 1.2), (HIGH + 0.01, 1.19)),
    ("different", (HIGH + EPS, 1.2), (HIGH + 0.01, 1.19)),
    ("undecided", (0.8, LOW), (0.81, LOW - 0.01)),
    ("different", (0.8, LOW - EPS), (0.81, LOW - 0.01)),
    ("different", (2.0, 3.0), (2.1, 2.9)),
]


@pytest.mark.parametrize(("verdict", "ci95", "ci90"), REGIONS)
def test_the_verdict_is_where_the_intervals_lie(
    verdict: str, ci95: tuple[float, float], ci90: tuple[float, float]
) -> None:
    decision = decide(ratio(ci95, ci90), MARGIN)
    assert (decision.verdict, decision.margin) == (verdict, MARGIN)
    assert (decision.pairs_needed is None) == (verdict != "undecided")


@pytest.mark.parametrize(("verdict", "ci95", "ci90"), REGIONS)
def test_the_verdict_is_the_same_whichever_arm_is_first(
    verdict: str, ci95: tuple[float, float], ci90: tuple[float, float]
) -> None:
    back = ratio((1 / ci95[1], 1 / ci95[0]), (1 / ci90[1] + 1e-15, 1 / ci90[0] - 1e-15))
    assert decide(back, MARGIN).verdict == verdict


def test_a_small_difference_can_be_real_and_negligible() -> None:
    found = ratio_of([100.0, 101.0, 99.0], [101.0, 102.01, 99.98])
    assert decide(found, MARGIN).verdict == "equivalent"
    assert found.excludes_one


def test_too_few_pairs_show_no_equality_even_at_ratio_1() -> None:
    decision = decide(ratio_of([100.0, 100.0], [90.0, 111.1]), MARGIN)
    assert decision.verdict == "undecided"
    assert decision.pairs_needed is not None
    assert decision.pairs_needed > 2


@pytest.mark.parametrize(
    ("margin", "cv_pct", "pairs"),
    [
        *[(0.01, 0.3, 4), (0.01, 1, 19), (0.01, 2, 71), (0.01, 5, 429)],
        *[(0.005, 0.3, 8), (0.005, 1, 70), (0.005, 2, 277), (0.005, 5, 1708)],
    ],
)
def test_pairs_that_decide(margin: float, cv_pct: float, pairs: int) -> None:
    # CV is that of one run, so sd(log ratio) = sqrt(2) CV. Planning numbers from another hand: within one pair, and within
    # 1.2 % where they are hundreds, since they take m for ln(1 + m) there.
    found = pairs_needed(cv_pct / 100 * math.sqrt(2), margin)
    assert found == pytest.approx(pairs, abs=max(1, 0.012 * pairs))


@pytest.mark.parametrize(("margin", "sd_log"), [(0.01, 0.0042), (0.01, 0.0141), (0.005, 0.0141), (0.02, 0.03)])
def test_pairs_that_decide_are_the_least_whose_simulation_decides(margin: float, sd_log: float) -> None:
    needed, rounds = pairs_needed(sd_log, margin), 20_000
    assert needed is not None
    rng = np.random.default_rng(7)

    def decided(n: int) -> float:
        means = rng.normal(0, sd_log / math.sqrt(n), rounds)
        deviations = sd_log * np.sqrt(rng.chisquare(n - 1, rounds) / (n - 1))
        half = stats.t.ppf(0.95, n - 1) * deviations / math.sqrt(n)
        return float(np.mean(np.abs(means) + half <= math.log1p(margin)))

    assert decided(needed) > 0.80 - 0.01
    assert decided(max(2, round(needed * 0.9) - 1)) < 0.80


def test_noise_beyond_all_bounds_is_never_decided() -> None:
    assert pairs_needed(5.0, 0.001) is None


@pytest.mark.parametrize("sd_log", [0.0, 1e-16, 1e-12, 1e-9, 1e-6])
def test_no_noise_needs_no_more_than_the_least(sd_log: float) -> None:
    assert tost_power(2, sd_log, 0.01) == pytest.approx(1, abs=2e-4)
    assert pairs_needed(sd_log, 0.01) == 2


@given(st.floats(0.001, 0.3), st.floats(0.005, 0.2))
def test_the_number_of_pairs_is_the_least_with_that_power(sd_log: float, margin: float) -> None:
    needed = pairs_needed(sd_log, margin)
    if needed is None:
        assert tost_power(100_000, sd_log, margin) < 0.80
        return
    assert tost_power(needed, sd_log, margin) >= 0.80
    assert needed == 2 or tost_power(needed - 1, sd_log, margin) < 0.80


@given(st.floats(0.002, 0.1), st.floats(0.005, 0.1), st.integers(2, 200))
def test_power_grows_with_pairs_and_margin_and_falls_with_noise(sd_log: float, margin: float, n: int) -> None:
    power = tost_power(n, sd_log, margin)
    assert 0 <= power <= 1
    if power > 0.3:  # below, few pairs pass by a deviation that happens to be small
        assert tost_power(n + 1, sd_log, margin) >= power - 1e-7
    assert tost_power(n, sd_log, margin * 1.1) >= power - 1e-7
    assert tost_power(n, sd_log * 1.1, margin) <= power + 1e-7


@pytest.mark.parametrize("n", [2, 3, 7, 17, 20, 60, 150, 500, 2000])
def test_power_reaches_certainty_without_a_gap(n: int) -> None:
    powers = [tost_power(n, math.log(1.01) * math.sqrt(n) / bound, 0.01) for bound in np.linspace(1, 60, 600)]
    assert all(low <= high + 1e-7 for low, high in pairwise(powers))
    assert powers[-1] == 1


@pytest.mark.parametrize(("n", "sd_log"), [(19, 0.01414), (10, 0.0085), (40, 0.022), (71, 0.0283)])
def test_power_is_how_often_a_simulation_says_equivalent(n: int, sd_log: float) -> None:
    margin, rounds = 0.01, 20_000
    logs = np.random.default_rng(20260101).normal(0.0, sd_log, (rounds, n))
    half = stats.t.ppf(0.95, n - 1) * logs.std(axis=1, ddof=1) / math.sqrt(n)
    equivalent = np.mean(np.abs(logs.mean(axis=1)) + half <= math.log1p(margin))
    assert tost_power(n, sd_log, margin) == pytest.approx(equivalent, abs=4 * math.sqrt(0.25 / rounds))


@pytest.mark.parametrize("ratio", [0.997, 1.003, 1.01, 1.02])
def test_power_at_another_ratio_is_that_of_a_simulation(ratio: float) -> None:
    n, sd_log, margin, rounds = 20, 0.012, 0.01, 20_000
    logs = np.random.default_rng(5).normal(math.log(ratio), sd_log, (rounds, n))
    half = stats.t.ppf(0.95, n - 1) * logs.std(axis=1, ddof=1) / math.sqrt(n)
    equivalent = np.mean(np.abs(logs.mean(axis=1)) + half <= math.log1p(margin))
    assert tost_power(n, sd_log, margin, ratio=ratio) == pytest.approx(equivalent, abs=4 * math.sqrt(0.25 / rounds))


def test_power_at_the_margin_is_the_level_whatever_the_noise() -> None:
    assert tost_power(200, 0.01, 0.01, ratio=1.01) == pytest.approx(0.05, abs=1e-9)
    assert tost_power(30, 0.0, 0.01, ratio=1.0099) == 1
    assert tost_power(30, 0.0, 0.01, ratio=1.02) == 0
    assert tost_power(1, 0.001, 0.01) == 0


def test_the_verdict_is_wrong_at_the_margin_no_more_often_than_it_says() -> None:
    rng, rounds, n = np.random.default_rng(3), 2000, 12
    logs = rng.normal(math.log1p(0.01), 0.01, (rounds, n))
    wrong = sum(decide(ratio_of([1.0] * n, np.exp(row).tolist()), 0.01).verdict == "equivalent" for row in logs)
    assert wrong / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Description(0, None, None, None)),
        ([5.0], Description(1, 5.0, None, None)),
        ([1.0, 3.0], Description(2, 2.0, math.sqrt(2), 100 * math.sqrt(2) / 2)),
        ([-1.0, 1.0], Description(2, 0.0, math.sqrt(2), None)),
        ([-1.0, -3.0], Description(2, -2.0, math.sqrt(2), 100 * math.sqrt(2) / 2)),
    ],
)
def test_a_sample_of_any_size_is_described(values: list[float], expected: Description) -> None:
    found = describe(values)
    assert (found.n, found.mean) == (expected.n, expected.mean)
    assert found.sd == (None if expected.sd is None else pytest.approx(expected.sd))
    assert found.cv_pct == (None if expected.cv_pct is None else pytest.approx(expected.cv_pct))


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=50))
def test_a_description_is_numpys_with_n_minus_1(values: list[float]) -> None:
    found = describe(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert found.cv_pct == pytest.approx(stats.variation(values, ddof=1) * 100, abs=1e-6)
