"""Looks: critical values against SciPy, published bounds and simulation; verdicts, their error rates, and what they save."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats._crossing import critical_values
from sparkray.stats.assumptions import assumptions_of
from sparkray.stats.operating import ends_of, expected_pairs, operating, sd_log_of
from sparkray.stats.paired import Ratio, decide, paired_ratio, pairs_needed, tost_power
from sparkray.stats.reasons import worded
from sparkray.stats.sequential import Design, alpha_spent, bounds, interim_verdict, interim_verdicts, pair_logs

LOOKS = (4, 6, 8, 10, 12, 15, 20, 25, 30)
SPENDINGS = ("linear", "pocock", "obrien_fleming")
EXPERIMENTS = 10_000
MOST = 0.05 + 2 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)
LOGS = st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=30).filter(lambda logs: np.ptp(logs[:3]) > 1e-6)
"""Ratios that are all alike have no interval."""


def crossed(values: np.ndarray, looks: tuple[int, ...], critical: tuple[float, ...]) -> np.ndarray:
    """Share of samples (rows) whose t has reached a bound by each look."""
    n = np.array(looks)
    sums, squares = np.cumsum(values, axis=1)[:, n - 1], np.cumsum(values**2, axis=1)[:, n - 1]
    t = sums / n / np.sqrt((squares - sums**2 / n) / (n - 1) / n)
    return np.maximum.accumulate(t >= np.array(critical), axis=1).mean(axis=0)


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.15), (10, 0.05), (30, 0.001)])
def test_a_single_interim_analysis_is_students_t(n: int, alpha: float) -> None:
    (critical,) = critical_values((n,), (alpha,))
    assert stats.t.sf(critical, n - 1) == pytest.approx(alpha, rel=2e-4)


@pytest.mark.parametrize(
    ("spending", "published"),
    [("obrien_fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310))],
)
def test_with_many_pairs_bounds_are_those_published_for_five_interim_analyses(spending, published) -> None:
    # Reboussin, DeMets, Kim & Lan (2000), Control. Clin. Trials 21:190-207: 5 % two-sided, known variance
    looks = (30, 60, 90, 120, 150)
    found = [bound.difference_t for bound in bounds(Design(looks, 0.01, spending=spending))]
    as_z = [stats.norm.isf(stats.t.sf(t, n - 1)) for t, n in zip(found, looks, strict=True)]
    assert as_z == pytest.approx(published, abs=0.012)


@pytest.mark.parametrize("looks", [tuple(range(3, 31)), (3, 30)])
def test_crossings_by_each_interim_analysis_are_what_may_be_spent_by_then(looks: tuple[int, ...]) -> None:
    spent = tuple(0.05 * n / looks[-1] for n in looks)
    found = crossed(np.random.default_rng(5).standard_normal((200_000, 30)), looks, critical_values(looks, spent))
    errors = np.sqrt(np.array(spent) / 200_000)
    assert np.all(np.abs(found - spent) < 4 * errors)


def test_looks_without_spending_would_break_the_promise() -> None:
    values = np.random.default_rng(5).standard_normal((20_000, 30))
    naive = tuple(float(stats.t.isf(0.05, n - 1)) for n in LOOKS)
    assert crossed(values, LOOKS, naive)[-1] > 0.10
    for_known_variance = tuple(float(stats.norm.isf(stats.t.sf(c, 10_000))) for c in naive)
    assert crossed(values, LOOKS, for_known_variance)[-1] > crossed(values, LOOKS, naive)[-1]


@pytest.mark.parametrize(
    ("looks", "spent"),
    [((), ()), ((2, 5), (0.01, 0.05)), ((5, 5), (0.01, 0.05)), ((5,), (0.01, 0.05)), ((5,), (0.2,)), ((5,), (0.0,))],
)
def test_bounds_that_cannot_be_are_refused(looks: tuple[int, ...], spent: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        critical_values(looks, spent)


def test_a_descending_spending_is_refused() -> None:
    with pytest.raises(ValueError, match="must ascend"):
        critical_values((5, 10), (0.03, 0.02))


@given(st.sampled_from(SPENDINGS), st.floats(0.001, 0.15), st.floats(0.01, 1.0))
def test_spending_grows_to_all_of_alpha_and_no_further(spending, alpha: float, share: float) -> None:
    assert 0 <= alpha_spent(spending, alpha, share) <= alpha * (1 + 1e-12)
    assert alpha_spent(spending, alpha, share) <= alpha_spent(spending, alpha, 1.0)
    assert alpha_spent(spending, alpha, 1.0) == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"looks": ()}, "looks"),
        ({"looks": (2, 4)}, "looks"),
        ({"looks": (6, 4)}, "looks"),
        ({"margin": 0.0}, "margin 0.0"),
        ({"margin": math.nan}, "margin nan"),
        ({"alpha": 0.5}, "alpha 0.5"),
    ],
)
def test_a_design_that_cannot_be_is_refused(changes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(Design(LOOKS, 0.01), **changes)


@given(LOGS, st.sampled_from([0.005, 0.01, 0.02]))
def test_one_interim_analysis_says_what_the_fixed_verdict_says(logs: list[float], margin: float) -> None:
    fixed = paired_ratio(np.ones(len(logs)), np.exp(logs))
    assert isinstance(fixed, Ratio)
    assume(
        assumptions_of([np.array(logs)])[0].code in ("hold", "unchecked")
    )  # else the fixed one asks the bootstrap too
    found = interim_verdict(Design((len(logs),), margin), np.log(np.exp(logs)).tolist())
    assert found.stop
    assert (found.n, found.alpha_spent) == (len(logs), pytest.approx(0.05))
    assert found.ci90 == pytest.approx(fixed.ci90, rel=1e-5)
    assert found.ci95 == pytest.approx(fixed.ci95, rel=1e-5)
    edge = min(abs(abs(math.log(end)) - math.log1p(margin)) for end in (*fixed.ci90, *fixed.ci95))
    assert found.verdict == decide(fixed, margin).verdict or edge < 1e-6


@given(LOGS)
def test_swapped_arms_are_the_mirror(logs: list[float]) -> None:
    design = Design((3, 5, 8, 30), 0.01)
    one, other = interim_verdict(design, logs), interim_verdict(design, [-x for x in logs])
    assert (one.verdict, one.stop, one.n) == (other.verdict, other.stop, other.n)
    assert one.ci90 is not None
    assert other.ci90 == pytest.approx([1 / end for end in reversed(one.ci90)])


@given(LOGS, LOGS)
def test_what_comes_after_a_decision_changes_nothing(logs: list[float], more: list[float]) -> None:
    design = Design((3, 5, 8, 60), 0.01)
    before, after = interim_verdict(design, logs), interim_verdict(design, logs + more)
    assert after == before if before.verdict != "undecided" else after.n >= before.n


def test_many_at_once_are_judged_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    logs = rng.normal(rng.choice([0.0, 0.008, 0.03], 300)[:, None], 0.008, (300, 30))
    design = Design(LOOKS, 0.01)
    ends = ends_of(design, logs)
    verdicts = set()
    for row, equivalent, different, pairs in zip(logs, ends.equivalent, ends.different, ends.pairs, strict=True):
        found = interim_verdict(design, row.tolist())
        assert (found.verdict == "equivalent", found.verdict == "different") == (equivalent, different)
        assert (found.n, found.stop) == (pairs, True)
        verdicts.add(found.verdict)
    assert verdicts == {"equivalent", "different", "undecided"}


def test_before_the_first_interim_analysis_and_between_interim_analyses_nothing_is_over() -> None:
    design = Design((4, 8), 0.01)
    early = interim_verdict(design, [0.0, 0.001])
    assert (early.verdict, early.stop, early.n, early.ratio, early.ci90) == ("undecided", False, 0, None, None)
    assert worded(early.reason) == "2 of the 4 pairs of the first interim analysis are complete"
    between = interim_verdict(design, [0.02, -0.02, 0.03, -0.03, 0.01, 0.02])
    assert (between.verdict, between.stop, between.n) == ("undecided", False, 4)
    assert "undecided at 1.0% at interim analysis 1 of 2 (4 pairs)" in worded(between.reason)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_log_ratio_that_is_no_number_decides_nothing(bad: float) -> None:
    found = interim_verdict(Design((4, 8), 0.01), [0.0, 0.0, 0.0, bad])
    assert (found.verdict, found.stop, found.ci90) == ("undecided", False, None)


@pytest.mark.parametrize("value", [0.0, 0.05, -0.05])
def test_pairs_that_are_all_alike_are_decided_at_no_interim_analysis(value: float) -> None:
    found = interim_verdict(Design((4, 8), 0.01), [value] * 8)
    assert (found.verdict, found.n, found.stop, found.ratio) == ("undecided", 8, True, None)
    assert worded(found.reason).endswith("(8 pairs): all ratios are alike: an interval needs noise")
    assert ends_of(Design((4, 8), 0.01), np.full((1, 8), value)).rates.undecided == 1


def test_an_interim_analysis_that_decided_stands_whatever_value_comes_after_it() -> None:
    logs = [0.001, -0.001, 0.0005, 0.0, math.nan, 0.0, 0.0, 0.0]
    found = interim_verdict(Design((4, 8), 0.01), logs)
    assert (found.verdict, found.n) == ("equivalent", 4)
    wide = interim_verdict(Design((4, 8), 0.01), [0.02, -0.02, 0.03, 0.0, *logs[4:]])
    assert (wide.verdict, wide.n, wide.stop, wide.ratio) == ("undecided", 8, True, None)
    assert "not a finite number above 0" in worded(wide.reason)


def test_a_value_without_logarithm_is_a_pair_without_a_ratio() -> None:
    found = pair_logs([1.0, 0.0, 2.0, math.nan], [2.0, 1.0, -1.0, 1.0])
    assert found.tolist() == pytest.approx([math.log(2), math.nan, math.nan, math.nan], nan_ok=True)


def test_an_undecided_interim_analysis_reports_the_pairs_that_would_decide() -> None:
    design = Design(LOOKS, 0.01)
    logs = np.random.default_rng(5).normal(0, 0.02, 30)
    found = interim_verdict(design, logs.tolist())
    assert (found.verdict, found.n, found.sd_log) == ("undecided", 30, pytest.approx(np.std(logs, ddof=1)))
    fixed = pairs_needed(found.sd_log or 0, 0.01)
    assert fixed is not None
    assert found.pairs_needed is not None
    assert fixed < found.pairs_needed < 2 * fixed
    assert worded(found.reason).endswith(f"at most {found.pairs_needed} pairs would decide if the true ratio is 1")
    scaled = tuple(sorted({max(3, round(n * found.pairs_needed / 30)) for n in LOOKS}))
    power = operating(replace(design, looks=scaled), sd_log=found.sd_log or 0, experiments=4_000).equivalent
    assert power >= 0.80 - 2 * math.sqrt(0.16 / 4_000)


def test_every_interim_analysis_is_reported_up_to_the_one_that_decides() -> None:
    logs = [0.02, -0.02, 0.03, -0.01, *np.random.default_rng(2).normal(0, 0.001, 26)]
    found = interim_verdicts(Design(LOOKS, 0.01), logs)
    assert [one.verdict for one in found[:-1]] == ["undecided"] * (len(found) - 1)
    assert [one.n for one in found] == list(LOOKS[: len(found)])
    assert found[-1] == interim_verdict(Design(LOOKS, 0.01), logs)


def test_wild_pairs_have_an_interval_and_decide_nothing() -> None:
    found = interim_verdict(Design((3, 30), 0.01, spending="obrien_fleming"), [600.0, -600.0, 300.0])
    assert (found.verdict, found.stop, found.n) == ("undecided", False, 3)
    assert found.ci95 is not None
    assert all(math.isfinite(end) for end in found.ci95)


def test_when_no_pair_can_come_any_more_the_last_interim_analysis_is_there_and_spends_what_is_left() -> None:
    design = Design((10, 20, 30), 0.01)
    logs = np.random.default_rng(5).normal(0, 0.016, 29)
    open_, closed = interim_verdict(design, logs.tolist()), interim_verdict(design, logs.tolist(), closed=True)
    assert (open_.n, open_.stop) == (20, False)
    assert (closed.n, closed.stop, closed.alpha_spent) == (29, True, pytest.approx(0.05))
    assert [bound.n for bound in bounds(design, 29)] == [10, 20, 29]
    assert [bound.n for bound in bounds(design, 20)] == [10, 20]
    assert bounds(design, 20)[0] == bounds(design)[0]
    assert bounds(design, 30) == bounds(design)
    assert interim_verdict(design, [0.0, 0.0], closed=True).stop


def test_a_closed_design_keeps_its_errors() -> None:
    known = bounds(Design(LOOKS, 0.01), 17)
    values = np.random.default_rng(8).standard_normal((100_000, 17))
    looks = tuple(bound.n for bound in known)
    share = crossed(values, looks, tuple(bound.equivalence_t for bound in known))[-1]
    assert 0.03 < share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 100_000)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize(("margin", "cv"), [(0.01, 0.3), (0.01, 1.0), (0.005, 5.0)])
def test_at_the_margin_either_verdict_comes_in_at_most_5_percent(spending, margin: float, cv: float) -> None:
    design = Design(LOOKS, margin, spending=spending)
    found = operating(design, sd_log=sd_log_of(cv), ratio=1 + margin, experiments=EXPERIMENTS, seed=1)
    assert found.equivalent <= MOST
    assert found.different <= MOST
    assert found.undecided == pytest.approx(1 - found.equivalent - found.different)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize(("margin", "cv"), [(0.01, 1.0), (0.005, 0.5)])
def test_power_is_there_where_the_fixed_design_has_it(spending, margin: float, cv: float) -> None:
    assert tost_power(30, sd_log_of(cv), margin) >= 0.80
    found = operating(Design(LOOKS, margin, spending=spending), sd_log=sd_log_of(cv), experiments=EXPERIMENTS, seed=2)
    assert found.equivalent >= 0.80


@pytest.mark.parametrize("spending", SPENDINGS)
def test_a_quiet_machine_needs_fewer_runs(spending) -> None:
    design = Design(LOOKS, 0.01, spending=spending)
    quiet, quieter = (operating(design, sd_log=sd_log_of(cv), experiments=EXPERIMENTS, seed=2) for cv in (0.3, 0.1))
    assert quiet.mean_pairs <= 30 / 1.9
    assert quieter.mean_pairs <= 30 / 2.9
    assert min(quiet.equivalent, quieter.equivalent) > 0.999


def test_an_interim_analysis_of_skewed_or_dependent_pairs_waits_and_the_last_one_says_why() -> None:
    rng = np.random.default_rng(2)
    skewed = 0.001 * (rng.exponential(size=30) - 1)
    skewed[3] = 0.012
    found = interim_verdicts(Design((20, 30), 0.01), skewed.tolist())
    assert [one.assumptions for one in found] == ["not_normal", "not_normal"]
    assert (found[0].verdict, found[0].unmet) == ("undecided", "interim_unmet?where=not_normal")
    walk = 0.0005 * np.cumsum(rng.standard_normal(30))
    last = interim_verdict(Design((30,), 0.02), (walk - walk.mean()).tolist())
    assert (last.verdict, last.assumptions in ("not_independent", "neither")) == ("undecided", True)


def test_sums_are_drawn_as_pairs_would_be() -> None:
    design = Design(LOOKS, 0.01)
    pairs = np.random.default_rng(4).normal(math.log(1.004), sd_log_of(1.0), (20_000, 30))
    one, other = ends_of(design, pairs).rates, operating(design, sd_log=sd_log_of(1.0), ratio=1.004, experiments=20_000)
    assert -0.05 < one.equivalent - other.equivalent < 0.02  # pairs are checked, sums cannot be
    assert one.mean_pairs == pytest.approx(other.mean_pairs, abs=1.5)


def test_more_metrics_and_more_arms_take_longer_and_noise_does() -> None:
    one, three = [Design(LOOKS, 0.01)], [Design(LOOKS, 0.01)] * 3
    quiet = expected_pairs(one, cv_pct=0.3)
    assert 4 <= quiet < expected_pairs(three, cv_pct=0.3) < expected_pairs(three, cv_pct=1.0) <= 30
    assert quiet < expected_pairs(one, cv_pct=0.3, arms=3)
    assert expected_pairs(one, cv_pct=50.0) > 29
