"""Every number finds its rows: every trace opens, the rows give the number again, and the filter is SQL that others read."""

import json
import math
from pathlib import Path

import duckdb
import polars as pl
import pytest
from support.studies import analysed, small_study

from sparkray.analysis import Analysis, analyse, trace
from sparkray.analysis.provenance import MOST_ROWS
from sparkray.analysis.provenance_ids import parts_of, provenance_id, scope_of
from sparkray.errors import InputError
from sparkray.store import Dataset

LATENCY = "latency_mean_ms"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysed()


def test_every_trace_of_every_table_opens(analysis: Analysis) -> None:
    for name, frame in analysis.tables.items():
        step = max(1, frame.height // 10)
        for row in frame.gather_every(step).to_dicts():
            found = trace(analysis, row["trace"])
            assert found.id == row["trace"]
            assert found.count > 0 or row["not_estimable"], name
            assert found.rows.height == min(found.count, MOST_ROWS)
            assert tuple(found.rows.columns) == found.columns


def test_the_folder_alone_gives_the_same(analysis: Analysis) -> None:
    trace_id = analysis.tables["comparisons"]["trace"][0]
    from_folder, from_analysis = trace(analysis.path, trace_id), trace(analysis, trace_id)
    assert from_folder.rows.equals(from_analysis.rows)
    assert from_folder.filter == from_analysis.filter


def test_rows_of_a_description_give_its_mean(analysis: Analysis) -> None:
    for row in analysis.tables["descriptive"].filter(pl.col("n") > 0).to_dicts():
        found = trace(analysis, row["trace"])
        assert found.count == row["n"]
        assert found.rows[row["metric"]].mean() == pytest.approx(row["mean"], rel=1e-9, abs=1e-12)


def ratio_of(rows: pl.DataFrame, environment: str, metric: str) -> float:
    pairs = rows.pivot("environment", index="block", values=metric)
    [against] = set(rows["environment"]) - {environment}
    logs = [math.log(b / a) for a, b in pairs.select(against, environment).iter_rows()]
    return math.exp(sum(logs) / len(logs))


@pytest.mark.parametrize("table", ["comparisons", "verdict_by_n", "gap"])
def test_rows_of_a_ratio_give_it_again(table: str, analysis: Analysis) -> None:
    for row in analysis.tables[table].filter(metric=LATENCY).to_dicts():
        found = trace(analysis, row["trace"])
        assert found.count == 2 * row["n"]
        assert ratio_of(found.rows, row["environment"], LATENCY) == pytest.approx(row["ratio"])


def test_rows_of_a_quantile_hold_it(analysis: Analysis) -> None:
    where = {"model": "Qwen2-1.5B", "environment": "native", "metric": "latency_ms"}
    [row] = analysis.tables["requests"].filter(**where, quantile=0.5).to_dicts()
    found = trace(analysis, row["trace"])
    assert (found.table, found.count) == ("requests", 6 * 24)
    times = found.rows.select((pl.col("end_ns") - pl.col("submit_ns")) / 1e6).to_series()
    assert times.median() == pytest.approx(row["value"])


def test_more_rows_than_are_shown_are_counted(tmp_path: Path) -> None:
    found = trace(small_study(tmp_path, models=1, requests=300), "requests/Qwen2-1.5B//native/latency_ms/0.50")
    assert (found.count, found.rows.height) == (1800, MOST_ROWS)


@pytest.mark.parametrize("table", ["descriptive", "comparisons", "diagnostics", "size", "memory", "questions", "runs"])
def test_the_filter_is_sql_that_another_engine_reads_alike(table: str, analysis: Analysis) -> None:
    for trace_id in analysis.tables[table]["trace"].gather_every(20):
        found = trace(analysis, trace_id)
        files = str(analysis.path / "runs" / "*.parquet")
        rows = duckdb.sql(f"SELECT run_id FROM '{files}' WHERE {found.filter}").fetchall()
        assert sorted(run_id for (run_id,) in rows) == sorted(found.rows["run_id"])


def test_what_an_answer_stands_on_opens_too(analysis: Analysis) -> None:
    for row in analysis.tables["questions"].to_dicts():
        listed = json.loads(row["supports"])
        assert listed
        assert trace(analysis, listed[0]).count > 0
        assert trace(analysis, listed[-1]).count > 0


def test_rows_of_a_sequential_ratio_are_those_of_its_interim_analysis(tmp_path: Path) -> None:
    folder = small_study(tmp_path, models=1, runs=8, flaky=0)
    document = json.loads((folder / "experiment.json").read_text())
    document["experiment"]["sequential"] = {"looks": [3, 5, 8], "spending": "linear"}
    (folder / "experiment.json").write_text(json.dumps(document))
    found = analyse(folder)
    seen = set()
    for row in found.tables["comparisons"].filter("primary").to_dicts():
        rows = trace(found, row["trace"]).rows
        seen.add(row["n"])
        assert rows.height == 2 * row["n"]
        assert ratio_of(rows, row["environment"], row["metric"]) == pytest.approx(row["ratio"])
        assert trace(found, f"{row['trace']}#arms").count == 16
    assert min(seen) < 8
    for row in found.tables["verdict_by_n"].to_dicts():
        assert trace(found, row["trace"]).count == 2 * row["n"]
        assert ratio_of(trace(found, row["trace"]).rows, row["environment"], row["metric"]) == pytest.approx(
            row["ratio"]
        )


def test_rows_of_a_share_of_a_gap_give_it_again(tmp_path: Path) -> None:
    folder = small_study(tmp_path, models=1, runs=6, flaky=0, samples=0)
    lost = pl.read_parquet(folder / "runs" / "*.parquet").filter(environment="native", block=2)["run_id"].item()
    for file in (folder / "runs").glob(f"{lost}*"):
        file.unlink()
    found = analyse(folder)
    [row] = found.tables["gap"].filter(metric=LATENCY).to_dicts()
    assert (row["n"], row["gap_shown"]) == (6, True)
    rows = trace(found, row["trace"] + scope_of(row["trace"], "closed_pct")).rows
    assert (rows["block"].n_unique(), rows.height) == (5, 15)
    before, after = (
        math.log(ratio_of(rows.filter(pl.col("environment").is_in(["native", one])), one, LATENCY))
        for one in ("container_baseline", "container_optimized")
    )
    assert 100 * (1 - after / before) == pytest.approx(row["closed_pct"])
    judged = trace(found, row["trace"] + scope_of(row["trace"], "gap_shown"))
    assert judged.count == 15
    assert trace(found, row["trace"] + scope_of(row["trace"], "ratio")).count == 12


def test_rows_behind_a_group_are_those_of_every_group(analysis: Analysis) -> None:
    size = analysis.tables["size"].filter(metric=LATENCY, environment="container_baseline")
    whole = size.filter(group_by="all")["trace"].item()
    for row in size.filter(group_by="architecture").to_dicts():
        for column in ("low", "tau"):
            assert trace(analysis, row["trace"] + scope_of(row["trace"], column)).rows.height == 3 * 2 * 6
        assert scope_of(row["trace"], "n_models") == ""
        assert trace(analysis, row["trace"]).count == row["n_models"] * 2 * 6
    assert scope_of(whole, "low") == ""
    for row in analysis.tables["contrasts"].filter(metric=LATENCY, environment="container_baseline").to_dicts():
        assert trace(analysis, row["trace"] + scope_of(row["trace"], "low")).count == 3 * 2 * 6


def test_rows_of_a_diagnosis_are_those_of_its_cell(analysis: Analysis) -> None:
    for row in analysis.tables["diagnostics"].filter(metric=LATENCY).to_dicts():
        assert trace(analysis, row["trace"]).count == row["n"]
        assert trace(analysis, f"{row['trace']}#blocks").count == 3 * row["n"]


@pytest.mark.parametrize(
    "wrong",
    [
        "comparisons/Qwen2-1.5B//container_baseline/latency_mean_ms#blocks",
        "comparisons/Qwen2-1.5B//container_baseline/latency_mean_ms/5/6",
        "contrasts/container_baseline/latency_mean_ms//colour/a/b",
        "size/container_baseline/latency_mean_ms/slope//all#groups",
        "comparisons",
        "",
        "nothing/at/all",
        "comparisons/Qwen2-1.5B//container_baseline",
        "comparisons/Nobody//container_baseline/latency_mean_ms",
        "comparisons/Qwen2-1.5B//container_baseline/status; DROP",
        "descriptive/Qwen2-1.5B//native/latency_mean_ms/9",
        "verdict_by_n/Qwen2-1.5B//container_baseline/latency_mean_ms/five",
        "requests/Qwen2-1.5B//native",
        "order/abc/x",
    ],
)
def test_a_key_that_is_none_is_refused(wrong: str, analysis: Analysis) -> None:
    with pytest.raises(InputError):
        trace(analysis, wrong)


def test_keys_keep_slashes_and_empty_parts() -> None:
    made = provenance_id("comparisons", "a/b 100%", "", "native")
    assert made == "comparisons/a%2Fb 100%25//native"
    assert parts_of(made) == ("comparisons", ["a/b 100%", "", "native"])


def test_a_name_with_a_quote_is_no_way_into_the_filter(analysis: Analysis, tmp_path: Path) -> None:
    for row in Dataset(analysis.path).read("runs")[:1]:
        (tmp_path / "runs").mkdir()
        (tmp_path / "dataset.json").write_text((analysis.path / "dataset.json").read_text())
        name = "O'Model' OR TRUE --"
        pl.DataFrame([row | {"model": name}]).write_parquet(tmp_path / "runs" / "a-1.parquet")
        found = trace(tmp_path, provenance_id("descriptive", name, row["level"], row["environment"], LATENCY))
        assert found.rows["model"].to_list() == [name]
