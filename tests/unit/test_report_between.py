"""Two studies against each other: Welch's interval on logarithms, against SciPy; and the sentences on real differences."""

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import Page, is_of
from scipy import stats
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.against import differences
from sparkray.analysis.against import studies as told_apart
from sparkray.errors import InputError
from sparkray.report import report_data
from sparkray.report.page import page
from sparkray.stats import NotEstimable
from sparkray.stats.between import LogSample, between, log_sample, pooled
from sparkray.stats.paired import Ratio, decide
from sparkray.stats.reasons import worded

A, B = LogSample(0.010, 0.004, 30), LogSample(0.002, 0.009, 12)
samples = st.builds(
    LogSample,
    st.floats(-2, 2),
    st.floats(1e-6, 1),
    st.integers(2, 200),
)


def estimated(a: LogSample, b: LogSample) -> tuple[Ratio, float]:
    found = between(a, b)
    assert not isinstance(found, NotEstimable)
    return found


def test_the_interval_is_that_of_scipys_welch_test() -> None:
    rng = np.random.default_rng(5)
    one, other = np.exp(rng.normal(0, 0.01, 30)), np.exp(rng.normal(0.004, 0.03, 11))
    a, b = log_sample(one), log_sample(other)
    assert isinstance(a, LogSample)
    assert isinstance(b, LogSample)
    found, df = estimated(a, b)
    test = stats.ttest_ind(np.log(other), np.log(one), equal_var=False)
    interval = test.confidence_interval(0.95)
    assert df == pytest.approx(test.df, rel=1e-12)
    assert found.ratio == pytest.approx(stats.gmean(other) / stats.gmean(one), rel=1e-12)
    assert np.log(found.ci95) == pytest.approx([interval.low, interval.high], rel=1e-8)
    assert found.excludes_one == (test.pvalue < 0.05)


def test_two_pooled_occasions_are_welchs_contrast() -> None:
    """The contrast 6/11, 5/11 of two means is Welch's difference of samples that are stretched by it."""
    rng = np.random.default_rng(8)
    logs = [rng.normal(-0.004, 0.007, 6), rng.normal(-0.002, 0.02, 5)]
    both = pooled(*(LogSample(float(one.mean()), float(one.std(ddof=1)), len(one)) for one in logs))
    assert not isinstance(both, NotEstimable)
    found, df = both
    test = stats.ttest_ind(6 / 11 * logs[0], -5 / 11 * logs[1], equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (found.n, df) == (11, pytest.approx(test.df))
    assert math.log(found.ratio) == pytest.approx(np.concatenate(logs).mean())
    assert np.log(found.ci95) == pytest.approx([interval.low, interval.high])


def test_a_pooled_interval_covers_though_one_occasion_is_noisier() -> None:
    rng, hits, studies = np.random.default_rng(9), 0, 2000
    for _ in range(studies):
        logs = [rng.normal(0.01, sd, n) for sd, n in ((0.006, 6), (0.009, 5), (0.02, 6))]
        found = pooled(*(LogSample(float(one.mean()), float(one.std(ddof=1)), len(one)) for one in logs))
        assert not isinstance(found, NotEstimable)
        low, high = found[0].ci95
        hits += low <= math.exp(0.01) <= high
    assert 0.935 < hits / studies < 0.965
    alone = pooled(LogSample(0.0, 0.01, 1), LogSample(0.0, 0.01, 5))
    assert isinstance(alone, NotEstimable)


@given(samples, samples)
def test_swapping_the_studies_turns_the_ratio_over(a: LogSample, b: LogSample) -> None:
    (there, df), (back, back_df) = estimated(a, b), estimated(b, a)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.ci95[0] * back.ci95[1] == pytest.approx(1)
    assert (df, there.sd_log) == pytest.approx((back_df, back.sd_log))


@given(samples, samples, st.floats(-1, 1))
def test_another_unit_changes_nothing(a: LogSample, b: LogSample, shift: float) -> None:
    moved, _ = estimated(replace(a, mean=a.mean + shift), replace(b, mean=b.mean + shift))
    assert moved.ratio == pytest.approx(estimated(a, b)[0].ratio)
    assert moved.ci90[0] >= moved.ci95[0]


@given(samples, samples)
def test_degrees_of_freedom_lie_between_the_smaller_study_and_both(a: LogSample, b: LogSample) -> None:
    _, df = estimated(a, b)
    assert min(a.n, b.n) - 1 - 1e-6 <= df <= a.n + b.n - 2 + 1e-6


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (replace(A, n=1), B, "first study: 1 value:"),
        (A, replace(B, n=0), "second study: 0 values"),
        (replace(A, sd=0.0), replace(B, sd=0.0), "no interval"),
        (replace(A, mean=math.nan), B, "not a finite number"),
        (A, replace(B, sd=math.inf), "not a finite number"),
    ],
)
def test_what_cannot_be_estimated_says_why(a: LogSample, b: LogSample, why: str) -> None:
    found = between(a, b)
    assert isinstance(found, NotEstimable)
    assert why in worded(found.reason)


def test_values_without_logarithm_are_no_sample() -> None:
    assert isinstance(log_sample([1.0, 0.0]), NotEstimable)
    assert isinstance(log_sample([1.0]), NotEstimable)
    assert log_sample([1.0, math.e]) == LogSample(0.5, pytest.approx(math.sqrt(0.5)), 2)


def test_verdicts_at_a_margin() -> None:
    same, _ = estimated(LogSample(0.0, 0.002, 30), LogSample(0.0005, 0.002, 30))
    assert decide(same, 0.01).verdict == "equivalent"
    other, _ = estimated(LogSample(0.0, 0.002, 30), LogSample(0.03, 0.002, 30))
    assert decide(other, 0.01).verdict == "different"
    wide = decide(estimated(LogSample(0.0, 0.02, 10), LogSample(0.0, 0.02, 10))[0], 0.01)
    assert wide.verdict == "undecided"
    # An sd of 0.0283 of differences is what arms with a CV of 2 % give: 71 pairs by the design's table.
    assert wide.pairs_needed == pytest.approx(71, abs=1)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Analysis]:
    """Before: the container costs 3 %. After: it costs nothing."""
    before = small_study(tmp_path_factory.mktemp("before"), models=2, runs=8, cv=0.001)
    after = small_study(
        tmp_path_factory.mktemp("after"),
        models=2,
        runs=8,
        seed=3,
        cv=0.001,
        speed_ratio={"container_baseline": 1.0, "container_optimized": 0.999},
    )
    return analyse(before), analyse(after)


def test_a_planted_change_is_found_where_it_is(studies: tuple[Analysis, Analysis]) -> None:
    before, after = studies
    frame = differences(after, before)
    rows = {(r["kind"], r["model"], r["environment"], r["metric"]): r for r in frame.iter_rows(named=True)}
    for model in ("Qwen2-1.5B", "Mistral-7B-v0.3"):
        changed = rows["overhead", model, "container_baseline", "latency_mean_ms"]
        assert changed["verdict"] == "different"
        assert changed["ratio"] == pytest.approx(0.97, abs=0.004)
        assert rows["overhead", model, "container_optimized", "latency_mean_ms"]["verdict"] == "equivalent"
        assert rows["arm", model, "native", "latency_mean_ms"]["verdict"] == "equivalent"
        assert rows["arm", model, "container_baseline", "latency_mean_ms"]["verdict"] == "different"


def test_the_pairs_of_two_studies_of_one_load_are_pooled(studies: tuple[Analysis, Analysis]) -> None:
    here, there = studies
    both = differences(here, there).filter(kind="pooled", environment="container_baseline", metric="latency_mean_ms")
    assert both.height == 2
    row = both.row(0, named=True)
    assert (row["n_here"], row["n_there"]) == (8, 8)
    assert 7 < row["df"] <= 14
    three = differences(here, there, replace(there, path=there.path / "third"))
    more = three.filter(kind="pooled", trace=row["trace"]).row(0, named=True)
    assert (more["n_here"], more["n_there"], more["there"]) == (8, 16, None)
    assert [one.partition("comparisons")[0] for one in json.loads(more["supports"])] == ["", "against/", "against-2/"]
    assert more["df"] > row["df"]
    assert three.filter(pl.col("kind") != "pooled").equals(differences(here, there).filter(pl.col("kind") != "pooled"))
    assert row["ratio"] == pytest.approx(math.sqrt(row["here"] * row["there"]))
    load = {**there.context["workload"], "output_tokens": 999}
    other = replace(there, context={**there.context, "workload": load})
    assert differences(here, other).filter(kind="pooled").is_empty()


def test_what_one_study_lacks_has_a_row_that_says_so(studies: tuple[Analysis, Analysis]) -> None:
    here, there = studies
    model = "Mistral-7B-v0.3"
    compared, runs = there.tables["comparisons"], there.tables["runs"]
    lost = (pl.col("model") == model) & (pl.col("environment") == "container_baseline")
    nulls = {name: pl.when(lost).then(None).otherwise(name).alias(name) for name in ("ratio", "low", "high")}
    failed = compared.with_columns(
        *nulls.values(),
        not_estimable=pl.when(lost).then(pl.lit("no_ok_run?statuses=3+failed")).otherwise("not_estimable"),
    )
    other = replace(there, tables={**there.tables, "comparisons": failed, "runs": runs.filter(~lost)})
    frame = differences(here, other)
    assert frame.height == differences(here, there).height
    gone = frame.filter(lost)
    assert set(gone.filter(kind="overhead")["not_estimable"]) == {"no_ok_run?statuses=3+failed&where=other_study"}
    assert set(gone.filter(kind="arm")["not_estimable"]) == {"no_cell?where=other_study"}
    third = differences(here, there, replace(other, path=there.path / "third")).filter(lost, kind="pooled")
    assert {worded(reason) for reason in third["not_estimable"]} == {
        "other study 2: no run of this cell is ok (3 failed)"
    }
    back = differences(other, here).filter(lost, kind="arm")
    assert set(back["not_estimable"]) == {"no_cell?where=this_study"}


def test_what_studies_are_of_is_compared_line_by_line(studies: tuple[Analysis, Analysis]) -> None:
    here, there = studies
    workload = {**there.context["workload"], "output_tokens": 999}
    digests = {**there.context["model_digests"], "Mistral-7B-v0.3": ["another"]}
    other = replace(
        there, context={**there.context, "workload": workload, "model_digests": digests, "simulated": False}
    )
    rows = {row["what"]: row for row in told_apart(here, other).to_dicts()}
    assert [what for what, row in rows.items() if not row["same"]] == ["workload", "weights", "simulated"]
    text = page(report_data(here, other), [])
    assert "These studies differ in workload and weights" in text
    assert "engine of the other study" not in text
    assert "engine of the other study" in page(report_data(other, here), [])
    assert "These studies differ" not in page(report_data(here, there), [])


def test_every_number_of_the_page_on_two_studies_is_a_cell(studies: tuple[Analysis, Analysis]) -> None:
    data = report_data(*studies)
    parsed = Page(page(data, []))
    mine = [cell for cell in parsed.cells if cell.trace.startswith("between/")]
    assert len(mine) > 30
    assert [cell for cell in mine if not is_of(data, cell)] == []


def test_a_study_against_itself_has_not_changed(studies: tuple[Analysis, Analysis]) -> None:
    frame = differences(studies[0], studies[0])
    assert len(frame) == len(frame["trace"].unique()) > 10
    assert frame.filter(pl.col("kind") != "pooled")["ratio"].drop_nulls().round(9).unique().to_list() == [1.0]


def test_the_page_says_it_with_evidence(studies: tuple[Analysis, Analysis]) -> None:
    data = report_data(studies[1], studies[0])
    row = next(row for row in data.rows("between", kind="overhead", verdict="different"))
    evidence, rows = data.open(row["trace"])
    assert "Satterthwaite" in evidence.how
    assert rows["ratio"].to_list() == [row["ratio"]]
    (here, own), (there, others) = data.behind(row["trace"])
    assert there.trace == f"against/{here.trace}"
    assert "In the other study's dataset" in there.line
    assert (own.height, others.height) == (2 * row["n_here"], 2 * row["n_there"])
    assert not own.equals(others)
    with pytest.raises(InputError, match="leads to another study"):
        report_data(studies[1]).open(there.trace)
