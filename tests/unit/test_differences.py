"""Metrics of which 0 is a value like any other: compared by their difference, with a margin in their own unit."""

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.interim import standings
from sparkray.analysis.provenance import trace
from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import parse
from sparkray.config.experiment import Experiment, Sequential
from sparkray.errors import ConfigError
from sparkray.plan import PlannedRun, _hashed
from sparkray.report.page import markdown, page
from sparkray.report.paper import write_paper
from sparkray.report.writing import report_data
from sparkray.stats import NotEstimable
from sparkray.stats.differences import difference_of, paired_difference
from sparkray.stats.paired import Ratio, decide
from sparkray.stats.reasons import worded
from sparkray.sweep.summary import findings_of, summary_lines
from sparkray.workflows.interim import standing_document, text_of

MEMORY, THROTTLED = "host_available_drop_peak_gib", "gpu_throttled_pct"


def changed(path: Path, metric: str, values: dict[str, list[float]]) -> Path:
    """The study with these values in the first runs of an arm."""
    left = {name: list(each) for name, each in values.items()}
    for file in sorted((path / "runs").glob("*.parquet")):
        row = pl.read_parquet(file)
        environment = row["environment"][0]
        if row["status"][0] == "ok" and left.get(environment):
            row.with_columns(pl.lit(left[environment].pop(0), pl.Float64).alias(metric)).write_parquet(file)
    return path


def declared(path: Path, **keys: Any) -> Path:
    document = json.loads((path / "experiment.json").read_text())
    document["experiment"] |= keys
    (path / "experiment.json").write_text(json.dumps(document))
    return path


def row_of(found: Analysis, metric: str = MEMORY, environment: str = "container_baseline") -> dict[str, Any]:
    [row] = found.tables["comparisons"].filter(metric=metric, environment=environment).to_dicts()
    return row


def test_a_difference_is_students_t_on_the_differences_and_tost_against_its_margin() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(20, 1, 12)
    b = a + rng.normal(0.3, 0.2, 12)
    scale = difference_of(a, b, 0.5)
    found = paired_difference(a, b, scale)
    assert isinstance(found, Ratio)
    for ends, level in ((found.ci95, 0.95), (found.ci90, 0.90)):
        expected = scipy.stats.ttest_1samp(b - a, 0).confidence_interval(level)
        assert [scale.back(end) for end in ends] == pytest.approx(list(expected), rel=1e-9)
    assert found.p == pytest.approx(scipy.stats.ttest_rel(b, a).pvalue, rel=1e-6)
    high = scipy.stats.ttest_1samp(b - a, 0).confidence_interval(0.90).high
    for margin in (high + 1e-6, high - 1e-6):  # on either side of the end of the 90 % interval
        at = difference_of(a, b, margin)
        again = paired_difference(a, b, at)
        assert isinstance(again, Ratio)
        assert at.relative is not None
        assert (decide(again, at.relative).verdict == "equivalent") is bool(margin > high)


@pytest.mark.parametrize(("a", "b"), [([20.1] * 5, [20.3] * 5), ([0.0] * 5, [0.0] * 5), ([1e9 + 0.1] * 3, [1e9] * 3)])
def test_differences_that_spread_by_rounding_alone_are_not_estimable(a: list[float], b: list[float]) -> None:
    first, second = np.array(a), np.array(b)
    second[0] = np.nextafter(second[0], math.inf) if second[0] else 0.0
    assert paired_difference(first, second, difference_of(first, second, 0.5)) == NotEstimable("no_spread_difference")


@pytest.mark.parametrize("margin", [1e-6, 1.0, 1e6])
def test_the_size_of_the_margin_changes_no_interval(margin: float) -> None:
    a, b = np.array([5.0, 0.0, 7.0, 6.0]), np.array([6.0, 1.5, 7.5, 9.0])
    scale = difference_of(a, b, margin)
    found = paired_difference(a, b, scale)
    assert isinstance(found, Ratio)
    expected = scipy.stats.ttest_1samp(b - a, 0).confidence_interval()
    assert [scale.back(end) for end in found.ci95] == pytest.approx(list(expected), rel=1e-6)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve blocks; the memory of one native run did not fall."""
    return changed(small_study(tmp_path_factory.mktemp("study"), models=1, runs=12), MEMORY, {"native": [0.0]})


@pytest.fixture(scope="module")
def of_gib(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """The same with a margin in GiB."""
    path = shutil.copytree(study, tmp_path_factory.mktemp("gib") / "small")
    return analyse(declared(path, difference_margins={MEMORY: 0.5}), metrics=[MEMORY])


def test_a_zero_leaves_memory_its_comparison_and_margin_in_gib(of_gib: Analysis) -> None:
    row = row_of(of_gib)
    values = of_gib.tables["runs"].sort("block")
    a, b = (values.filter(environment=name)[MEMORY].to_numpy() for name in ("native", "container_baseline"))
    assert 0.0 in a
    assert row["difference"] == pytest.approx(np.mean(b - a))
    assert (row["judged_by"], row["difference_margin"], row["margin"]) == ("difference", 0.5, None)
    assert (row["verdict"], row["assumptions"]) == ("undecided", "not_normal")  # one run apart from the others
    assert (row["not_estimable"], json.loads(row["why_null"])["ratio"]) == (None, "not_positive")
    assert row["power_planned"] is not None
    assert row_of(of_gib, "latency_mean_ms")["judged_by"] == "ratio"
    by_n = of_gib.tables["verdict_by_n"].filter(metric=MEMORY, environment="container_baseline")
    assert by_n["verdict"].null_count() == 0
    assert by_n["difference"][-1] == pytest.approx(row["difference"])
    assert trace(of_gib, row["trace"]).rows.height == 24
    [gap] = of_gib.tables["gap"].filter(metric=MEMORY).to_dicts()
    assert (gap["judged_by"], gap["helps"]) == ("difference", True)
    assert gap["ratio"] is not None


def test_without_a_margin_of_its_own_a_zero_is_judged_at_the_relative_margin_of_the_references_mean(
    study: Path,
) -> None:
    found = analyse(study, metrics=[MEMORY])
    row = row_of(found)
    mean = found.tables["runs"].filter(environment="native")[MEMORY].mean()
    assert (row["judged_by"], row["margin"]) == ("difference", None)
    assert row["difference_margin"] == pytest.approx(0.02 * mean)
    [whole] = found.tables["gap"].filter(metric=MEMORY).to_dicts()  # neither container has a zero
    assert whole["judged_by"] is None
    assert whole["ratio"] is not None
    asked = row_of(analyse(study, margins={MEMORY: 0.5}, metrics=[MEMORY]))
    assert asked["difference_margin"] == pytest.approx(0.5 * mean)


def test_another_relative_margin_goes_before_the_experiments_difference(tmp_path: Path) -> None:
    path = declared(small_study(tmp_path, models=1, runs=4), difference_margins={MEMORY: 0.5})
    own, other = (
        row_of(analyse(path, metrics=[MEMORY])),
        row_of(analyse(path, margins={MEMORY: 0.03}, metrics=[MEMORY])),
    )
    assert (own["judged_by"], own["difference_margin"]) == ("difference", 0.5)
    assert (own["ratio"], own["low"]) == (other["ratio"], other["low"])  # the ratio is reported too
    assert (other["judged_by"], other["margin"]) == ("ratio", 0.03)


def test_any_metric_with_zeros_has_its_difference(tmp_path: Path) -> None:
    """Throttling: 0 % in every native run, a little in containers. Without a margin there is no verdict."""
    values = {"native": [0.0] * 6, "container_baseline": [0.0, 2.0, 0.0, 1.5, 0.0, 3.0]}
    path = changed(small_study(tmp_path, models=1), THROTTLED, values)
    row = row_of(analyse(path, metrics=[THROTTLED]), THROTTLED)
    assert row["difference"] == pytest.approx(6.5 / 6)
    assert row["verdict"] is None
    for margin, verdict in ((5.0, "equivalent"), (0.1, "undecided")):
        path = declared(path, difference_margins={THROTTLED: margin}, primary_metrics=[THROTTLED])
        assert row_of(analyse(path, metrics=[THROTTLED]), THROTTLED)["verdict"] == verdict


def test_terminal_page_markdown_and_paper_say_gib(of_gib: Analysis, tmp_path: Path) -> None:
    [memory, *_] = [line for line in summary_lines(findings_of(of_gib)) if line.strip().startswith("Memory")]
    assert " GiB (" in memory
    assert "can't tell" in memory
    data = report_data(of_gib)
    assert " GiB <span" in page(data, [])
    assert "peak drop of available memory 0.5 GiB" in page(data, [])
    [line, *_] = [line for line in markdown(of_gib).splitlines() if "/ native" in line]
    assert " GiB [" in line
    assert "available memory 0.5 GiB" in markdown(of_gib)
    paper = write_paper(data, [], tmp_path).read_text()
    assert "GiB" in paper
    assert ":difference_margin:number3}\\,GiB" in paper


def test_interim_analyses_judge_the_difference_at_a_stated_margin(tmp_path: Path) -> None:
    """With a zero in the first block, and again where the first three pairs are alike."""
    rng = np.random.default_rng(3)
    rows = []
    for block in range(12):
        for environment, more in (("native", 0.0), ("container_baseline", 0.05)):
            memory = max(0.0, 0.2 + more + 0.05 * rng.normal()) if block else 0.0
            rows.append(
                {
                    "run_id": f"{environment}{block}",
                    "status": "ok",
                    "model": "M",
                    "level": "",
                    "environment": environment,
                }
                | {"block": block, "ended_at": block, MEMORY: memory}
            )
    runs = [PlannedRun(row["run_id"], row["block"], 0, "M", row["environment"], 1, "") for row in rows]
    base = Catalog(data_root()).experiment("phase2a-sequential")
    own = replace(base, primary_metrics=(MEMORY,), margins={}, difference_margins={MEMORY: 0.3}, runs=12)
    own = replace(own, sequential=Sequential((6, 12)))
    [standing] = standings(own, runs, rows)
    a, b = (
        np.array([row[MEMORY] for row in rows if row["environment"] == name])
        for name in ("native", "container_baseline")
    )
    assert standing.interim.verdict == "equivalent"
    used = (b - a)[: standing.interim.n]
    document = standing_document(standing)
    assert document["difference"] == pytest.approx(np.mean(used))
    assert document["difference_ci95"][0] < np.mean(used) < document["difference_ci95"][1]
    assert "ratio" not in document
    assert text_of(standing).endswith(f"difference {np.mean(used):+.3g} GiB")
    assert "equivalent within 0.3" in worded(standing.interim.reason)


def test_an_experiment_without_such_margins_is_the_same_experiment_and_a_wrong_one_is_refused() -> None:
    base = Catalog(data_root()).experiment("phase2a")
    assert base.difference_margins == {MEMORY: 0.5}
    assert "difference_margins" not in _hashed(replace(base, difference_margins={}))
    assert _hashed(base)["difference_margins"] == base.difference_margins
    for wrong in (0, -0.5, "0.5 GiB"):
        with pytest.raises(ConfigError, match="difference_margins"):
            parse(Experiment, asdict(base) | {"difference_margins": {MEMORY: wrong}}, "a.yaml")
