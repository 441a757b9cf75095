"""Assumptions of a paired interval: the checks against SciPy, and verdicts that do not depend on one interval."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import (
    Checked,
    checked,
    decide_checked,
    hodges_lehmann,
    skewness_ends,
    tolerated,
    unseen_share,
)
from sparkray.stats.bootstrap import mean_interval
from sparkray.stats.normality import shapiro_p
from sparkray.stats.paired import decide, ratio_of_logs
from sparkray.stats.reasons import worded
from sparkray.stats.samples import Estimate, Vector

MARGIN = 0.01


def found(logs: Vector) -> Checked:
    return checked(ratio_of_logs(logs), logs)


@pytest.mark.parametrize("n", [4, 5, 6, 11, 12, 30, 200])
def test_normality_of_many_samples_is_scipys(n: int) -> None:
    samples = np.random.default_rng(n).exponential(size=(20, n))
    assert shapiro_p(samples) == pytest.approx([stats.shapiro(row).pvalue for row in samples], abs=1e-6)


def test_the_intervals_beside_are_scipys() -> None:
    logs = np.random.default_rng(1).exponential(size=30)
    ranks, bca = hodges_lehmann(logs), mean_interval(logs)
    assert isinstance(ranks, Estimate)
    assert isinstance(bca, Estimate)
    for end, inside in ((ranks.low, 1e-9), (ranks.high, -1e-9)):
        assert end is not None
        p_inside, p_outside = (stats.wilcoxon(logs - end - step, method="exact").pvalue for step in (inside, -inside))
        assert p_outside <= 0.05 < p_inside
    expected = stats.bootstrap((logs,), np.mean, n_resamples=50_000, rng=1).confidence_interval
    assert (bca.low, bca.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    critical = float(stats.t.isf(0.025, 29))
    low, high = skewness_ends(np.vstack([logs, -logs]), critical)
    assert (low[0], high[0]) == pytest.approx((-high[1], -low[1]))
    assert high[0] - logs.mean() > critical * logs.std(ddof=1) / math.sqrt(30)  # longer where the tail is


def test_normal_independent_pairs_keep_students_t() -> None:
    logs = stats.norm.ppf((np.random.default_rng(3).permutation(30) + 0.5) / 30) * 0.003
    one = found(logs)
    assert (one.ratio, one.assumptions.code) == (one.student, "hold")
    assert decide_checked(one, MARGIN) == (decide(one.student, MARGIN), None)
    assert found(logs[:6]).assumptions.code == "unchecked"


@pytest.mark.parametrize("turn", [1, -1])
def test_a_verdict_that_hangs_on_the_interval_is_undecided_and_says_so(turn: int) -> None:
    shape = np.random.default_rng(5).exponential(size=30)
    width = 0.97 * math.log1p(MARGIN)
    student = ratio_of_logs(shape)
    scale = width / math.log(student.ci90[1])
    hanging = found(turn * scale * shape)
    assert hanging.ratio.ci95[0] <= hanging.student.ci95[0]
    assert hanging.ratio.ci95[1] >= hanging.student.ci95[1]
    decision, reason = decide_checked(hanging, MARGIN)
    assert (decide(hanging.student, MARGIN).verdict, decision.verdict, decision.pairs_needed) == (
        "equivalent",
        "undecided",
        None,
    )
    assert "not normal" in worded(reason)


def test_pairs_that_resemble_the_pair_before_widen_the_interval_or_have_no_verdict() -> None:
    rng = np.random.default_rng(0)
    logs = rng.standard_normal(30)
    for place in range(1, 30):
        logs[place] = 0.5 * logs[place - 1] + math.sqrt(0.75) * logs[place]
    one = found(0.002 * logs)
    assert one.assumptions.code == "not_independent"
    assert one.assumptions.worth < 30
    assert one.ratio.ci95[1] / one.ratio.ci95[0] > one.student.ci95[1] / one.student.ci95[0]
    walk = np.cumsum(rng.standard_normal(30))
    decision, reason = decide_checked(found(1e-4 * (walk - walk.mean())), MARGIN)
    assert decision.verdict == "undecided"
    assert "not independent" in worded(reason)


def test_pairs_that_were_not_met_move_the_mean_by_what_the_margin_leaves() -> None:
    """As many as 30 pairs without one do not exclude (9.5 %), as far as is tolerated: the interval meets the margin."""
    share = unseen_share(30)
    assert (1 - share) ** 30 == pytest.approx(0.05)
    for ci90 in ((0.999, 1.004), (0.996, 1.001)):
        moved = share * math.log1p(tolerated(ci90, 30, 0.01))
        assert max(math.log(ci90[1]), -math.log(ci90[0])) + moved == pytest.approx(math.log1p(0.01))


def test_few_or_many_values_have_no_ranks() -> None:
    assert isinstance(hodges_lehmann(np.arange(5.0)), NotEstimable)
    assert isinstance(hodges_lehmann(np.arange(501.0)), NotEstimable)


@pytest.mark.parametrize("law", ["exponential", "lognormal", "dependent"])
def test_on_the_margin_equivalent_is_said_in_few_studies_whatever_the_law(law: str) -> None:
    rng = np.random.default_rng(9)
    values = rng.standard_normal((400, 30))
    if law == "dependent":
        for place in range(1, 30):
            values[:, place] = 0.5 * values[:, place - 1] + math.sqrt(0.75) * values[:, place]
    else:
        values = (
            rng.exponential(size=values.shape) - 1 if law == "exponential" else np.exp(0.8 * values) - math.exp(0.32)
        )
    logs = math.log1p(MARGIN) + 0.001 * values
    by_t = np.mean([decide(ratio_of_logs(row), MARGIN).verdict == "equivalent" for row in logs])
    verdicts = [
        decide_checked(checked(ratio_of_logs(row), row, beside=False), MARGIN)[0].verdict == "equivalent"
        for row in logs
    ]
    assert np.mean(verdicts) <= 0.06 + 2 * math.sqrt(0.06 * 0.94 / 400) < by_t + 0.03
    assert np.mean(verdicts) < by_t
