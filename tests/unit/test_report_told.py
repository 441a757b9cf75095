"""What the report says of a study beside its numbers: what its rows show and no more, and what is not known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.text import plain
from sparkray.report import open_book
from sparkray.report.book import Book
from sparkray.report.methods import methods
from sparkray.report.page import page
from sparkray.report.threats import threats
from sparkray.report.words import caution, meaning
from sparkray.simulate.study import Plant, plant, small_study


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("study"), models=2, runs=6))


def other(analysis: Analysis, **context: Any) -> Book:
    """A book of the same numbers about a study of which something else is told."""
    return open_book(replace(analysis, context={**analysis.context, **context}))


def said(book: Book) -> Mapping[str, str]:
    """Methods and threats by name."""
    points = [*methods(book), *(point for _, found in threats(book) for point in found)]
    return {point.name: plain(point.text) for point in points}


def test_that_arms_ran_the_same_files_is_said_only_where_every_run_shows_it(analysis: Analysis) -> None:
    assert "Every run of every arm tells the same digest" in said(open_book(analysis))["Engine"]
    files = analysis.context["conduct"]["files"]

    def told(**changed: Mapping[str, Any]) -> str:
        conduct = {**analysis.context["conduct"], "files": {**files, **changed}}
        found = said(other(analysis, conduct=conduct))
        assert found["Same bits"] in found["Engine"]
        return found["Same bits"]

    silent = {**files["native"], "not_told": 2}
    assert told(native=silent) == (
        "The digests that there are are alike; native did not tell theirs in every run, so of these it is not shown."
    )
    apart = {"digests": ["sha256:b"], "not_told": 0}
    assert told(native=apart).startswith("More than one set of files was run")
    nobody = {name: {"digests": [], "not_told": 12} for name in files}
    assert "is not shown" in told(**nobody)


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        (["NVIDIA GB10"], "GPU and host share memory here"),
        (["NVIDIA H100 80GB HBM3"], "The GPU has memory of its own"),
        ([], "No GPU was used"),
    ],
)
def test_of_memory_only_what_holds_on_that_machine_is_said(analysis: Analysis, gpus: list[str], words: str) -> None:
    machines = [{**analysis.context["machines"][0], "gpus": gpus}]
    assert said(other(analysis, machines=machines))["Memory"].startswith(words)


def test_margins_that_nobody_declared_are_not_called_fixed_before_the_data(tmp_path: Path, analysis: Analysis) -> None:
    assert "Fixed before the data" in said(open_book(analysis))
    folder = small_study(tmp_path, models=1, runs=3)
    (folder / "experiment.json").unlink()
    book = open_book(analyse(folder))
    found = said(book)
    assert "Fixed before the data" not in found
    assert "the defaults of this program" in found["Not fixed before the data, as far as is known"]
    text = page(book, [])
    assert "those used are this program&#39;s defaults" in text
    assert "margin fixed before the data" not in text


def test_a_load_of_levels_is_not_told_as_the_cards_batch(tmp_path: Path) -> None:
    levels = ("concurrency=1", "concurrency=4")
    found = said(open_book(analyse(small_study(tmp_path, models=1, runs=3, levels=levels))))
    assert "as each level of the load says (concurrency=1 and concurrency=4)" in found["Workload"]
    assert "card's batch" not in found["Workload"]


def test_lots_are_spoken_of_only_where_they_were_drawn(analysis: Analysis) -> None:
    drawn, rotated = said(open_book(analysis)), said(other(analysis, order="alternating"))
    assert "drawn by lot from the seed" in drawn["Order"]
    assert "a permutation test inside blocks" in drawn["Beside it"]
    assert "Nothing was drawn by lot" in rotated["Order"]
    assert "permutation" not in rotated["Beside it"]
    assert "assumes that arms are exchangeable" in rotated["Beside it"]
    assert "Of 12 blocks with two arms or more, first came native in " in drawn["Order"]


def test_conduct_is_told_as_it_was_seen(analysis: Analysis) -> None:
    found = said(open_book(analysis))
    assert "No row tells how long was waited" in found["Before each run, as the rows tell"]
    waited = {"runs": 36, "min": 1.5, "median": 62.0, "max": 301.25}
    conduct = {**analysis.context["conduct"], "gate_wait_s": waited}
    told = said(other(analysis, conduct=conduct))["Before each run, as the rows tell"]
    assert "Waited before the start: median 62 s, from 1.500 to 301.2 s, over 36 runs." in told
    assert "No run tells that the page cache was emptied before it." in told
    spread = {**analysis.context["workload"], "input_spread": 64}
    assert "(drawn evenly up to 64 from it" in said(other(analysis, workload=spread))["Workload"]
    assert "NVIDIA driver 580.95.05, Docker 28.3.3 (containerd 1.7.27 and runc 1.2.5)" in found["Software"]
    older = {name: value for name, value in analysis.context["machines"][0].items() if name != "docker"}
    assert "Docker's version not stored" in said(other(analysis, machines=[older]))["Software"]
    assert "less than 8 GiB are available" in found["Before each run, declared"]


def test_checks_and_audit_are_threats(analysis: Analysis) -> None:
    found = said(open_book(analysis))
    warned = analysis.tables["checks"].filter(pl.col("verdict") != "pass")
    assert {f"Check {row['check']}" for row in warned.to_dicts()} <= set(found)
    audited = open_book(analysis).rows("audit")
    assert audited
    assert {f"Audit: {row['kind'].replace('_', ' ')}" for row in audited if row["gravity"] != "not judged"} <= set(
        found
    )
    nothing = replace(analysis, tables={**analysis.tables, "checks": analysis.tables["checks"].clear()})
    assert "No check left a verdict" in said(open_book(nothing))["Checks"]


def test_a_verdict_that_hangs_on_outliers_or_days_comes_with_a_caution(tmp_path: Path) -> None:
    planted = Plant(models=("Mistral-7B-v0.3",), runs=20, requests=8, samples=0, bad_block=7)
    book = open_book(analyse(plant(tmp_path, planted)))
    [row] = book.rows("comparisons", metric="latency_mean_ms", environment="container_baseline")
    assert plain(caution(book, row)) == "CAUTION: without 1 outlying pairs it would be equivalent."
    assert "CAUTION" in plain(meaning(book, row))
    assert "latency (undecided; without them equivalent)" in said(book)["Outliers"]
    assert caution(book, {**row, "outliers": 0}) == ()
    days = {**row, "verdict_without_outliers": None, "cluster_verdict": "different", "cluster_low": 1.02, "clusters": 5}
    assert plain(caution(book, days)).startswith("CAUTION: over other days it would be different (1.0200 to ")
    same = {**days, "cluster_verdict": row["verdict"]}
    assert caution(book, same) == ()
    assert caution(book, {**days, "clusters": 4}) == ()


def clustered(analysis: Analysis, **columns: object) -> str:
    """What threats say of blocks on several days where comparisons have these values."""
    rows = analysis.tables["comparisons"]
    values = {"cluster_low": 0.9, "cluster_high": 1.1, **columns}
    changed = rows.with_columns(pl.lit(value, dtype=rows.schema[name]).alias(name) for name, value in values.items())
    return said(open_book(replace(analysis, tables={**analysis.tables, "comparisons": changed})))[
        "Blocks of several days"
    ]


def test_days_are_judged_by_from_five_on_and_where_they_have_a_verdict(analysis: Analysis) -> None:
    judged = clustered(analysis, clusters=5, cluster_verdict="undecided", verdict="equivalent")
    assert "CAUTION: over other days the verdict would be another" in judged
    assert "every verdict would be the same" in clustered(
        analysis, clusters=5, cluster_verdict="equivalent", verdict="equivalent"
    )
    few = clustered(analysis, clusters=2, cluster_verdict="undecided", verdict="equivalent")
    assert few == "Intervals over 2 days stand in the tables; fewer than 5 tell too little of others for a verdict."
    assert "there is no verdict by them" in clustered(analysis, clusters=9, cluster_verdict=None)


def test_under_looks_no_verdict_is_said_to_hang_on_outliers(analysis: Analysis) -> None:
    rows = analysis.tables["comparisons"]
    looked = rows.with_columns(
        outliers=1, ratio_without_outliers=0.99, verdict_without_outliers=pl.lit(None, dtype=pl.String)
    )
    book = open_book(replace(analysis, tables={**analysis.tables, "comparisons": looked}))
    assert said(book)["Outliers"].endswith("There is no verdict without them.")
