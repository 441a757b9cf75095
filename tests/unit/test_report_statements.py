"""What the report says of a study beside its numbers: what its rows show and no more, and what is not known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.arm_files import bits_of
from sparkray.analysis.threats import threat_rows
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.page import page, texts
from sparkray.report.paper import points
from sparkray.simulate.study import Plant, plant


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("study"), models=2, runs=6, merged=True))


def other(analysis: Analysis, **context: Any) -> ReportData:
    """A data of the same numbers about a study of which something else is told."""
    return report_data(replace(analysis, context={**analysis.context, **context}))


def said(data: ReportData) -> Mapping[str, str]:
    """Methods and threats by name."""
    made = texts(data)
    return dict([*points(made, "text/methods.j2"), *points(made, "text/threats.j2")])


def test_that_arms_ran_the_same_files_is_said_only_where_every_run_shows_it(analysis: Analysis) -> None:
    assert "Every run of every arm recorded the same digest" in said(report_data(analysis))["Same bits"]
    files = analysis.context["adherence"]["files"]

    def told(**changed: Mapping[str, Any]) -> str:
        every = {**files, **changed}
        adherence = {**analysis.context["adherence"], "files": every, "bits": bits_of(every)}
        return said(other(analysis, adherence=adherence))["Same bits"]

    silent = {**files["native"], "not_recorded": 2}
    assert told(native=silent) == (
        "The recorded digests are equal; native did not record theirs in every run, so of these it is not shown."
    )
    apart = {**files["container_baseline"], "digests": ["sha256:b"], "images": ["own:2"]}
    assert told(container_baseline=apart).startswith("CAUTION: arms that should run the same files did not: native ")
    declared = {**apart, "own_image": "own:2", "image_digests": ["sha256:c"]}
    said_of_images = told(container_baseline=declared)
    assert said_of_images.startswith("The arms ran different images, as the experiment declares: native ")
    assert "container own:2 (image sha256:c, files sha256:b)" in said_of_images
    nobody = {name: {**one, "digests": [], "not_recorded": 12} for name, one in files.items()}
    assert "is not shown" in told(**nobody)


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        (["NVIDIA GB10"], "GPU and host share memory here"),
        (["NVIDIA H100 80GB HBM3"], "The GPU has memory of its own"),
        ([], "No GPU was used"),
        (None, "Which GPUs a machine has is unknown"),
    ],
)
@pytest.mark.slow
def test_of_memory_only_what_holds_on_that_machine_is_said(
    analysis: Analysis, gpus: list[str] | None, words: str
) -> None:
    machines = [{**analysis.context["machines"][0], "gpus": gpus}]
    assert said(other(analysis, machines=machines))["Memory"].startswith(words)


@pytest.mark.slow
def test_margins_that_nobody_declared_are_not_called_fixed_before_the_data(tmp_path: Path, analysis: Analysis) -> None:
    fixed = "Margins, fixed before the data"
    assert fixed in said(report_data(analysis))
    folder = small_study(tmp_path, models=1, runs=3)
    (folder / "experiment.json").unlink()
    data = report_data(analyse(folder))
    assert fixed not in said(data)
    assert "the defaults of this program" in said(data)["Margins, not declared"]
    assert "these are the defaults of this program" in page(data, [])


@pytest.mark.slow
def test_a_load_of_levels_is_not_told_as_the_cards_batch(tmp_path: Path) -> None:
    levels = ("concurrency=1", "concurrency=4")
    found = said(report_data(analyse(small_study(tmp_path, models=1, runs=3, levels=levels, merged=True))))
    assert "as each level says (concurrency=1 and concurrency=4)" in found["Workload"]
    assert "card's batch" not in found["Workload"]


@pytest.mark.slow
def test_lots_are_spoken_of_only_where_they_were_drawn(analysis: Analysis) -> None:
    drawn, rotated = said(report_data(analysis)), said(other(analysis, order="alternating"))
    assert "drawn by lot from the seed" in drawn["Order"]
    assert "permutation inside blocks" in drawn["Beside it"]
    assert "nothing is drawn by lot" in rotated["Order"]
    assert "permutation" not in rotated["Beside it"]
    assert "assume exchangeable arms" in rotated["Beside it"]
    assert "Of 12 blocks, the first arm was native in " in drawn["Order"]


def test_adherence_is_reported_as_it_was_recorded(analysis: Analysis) -> None:
    name = "Before each run, recorded"
    found = said(report_data(analysis))
    assert "No run recorded how long it waited" in found[name]
    waited = {"runs": 36, "min": 1.5, "median": 62.0, "max": 301.25}
    adherence = {**analysis.context["adherence"], "gate_wait_s": waited}
    told = said(other(analysis, adherence=adherence))[name]
    assert "Wait: median 62 s (1.500 to 301.2 s, 36 runs)." in told
    assert "No run recorded that the page cache was emptied before it." in told
    assert "NVIDIA driver 580.95.05, Docker 28.3.3" in found["Software"]
    machine = analysis.context["machines"][0]
    older = {name: value for name, value in machine.items() if name not in ("docker", "driver")}
    software = said(other(analysis, machines=[older]))["Software"]
    assert "Docker's version not recorded" in software
    assert "NVIDIA driver unknown" in software


def test_checks_and_audit_are_reported(analysis: Analysis) -> None:
    checks = analysis.tables["checks"].with_columns(verdict=pl.lit("warn"))
    data = report_data(replace(analysis, tables={**analysis.tables, "checks": checks}))
    data = replace(data, own={**data.own, "audit": data.table("audit").with_columns(gravity=pl.lit("grave"))})
    text = page(data, [])
    warned = [row for row in data.rows("checks") if row["verdict"] != "pass"]
    findings = [row for row in data.rows("audit") if row["gravity"] != "not judged"]
    assert warned
    assert findings
    first = text[: text.index("<nav")]
    assert all(f"{row['check'].replace('_', ' ')} {row['verdict']} in {row['count']}" in first for row in warned)
    assert all(row["kind"].replace("_", " ") in text for row in findings)


@pytest.mark.slow
def test_a_verdict_that_depends_on_outliers_comes_with_a_caution(tmp_path: Path) -> None:
    planted = Plant(models=("Mistral-7B-v0.3",), runs=20, requests=8, samples=0, bad_block=7)
    data = report_data(analyse(plant(tmp_path, planted)))
    assert "CAUTION: " in said(data)["Outliers"]
    assert "verdicts would be others without them" in said(data)["Outliers"]
    text = page(data, [])
    assert "on outlying pairs" in text[: text.index("<nav")]


def threats_of(analysis: Analysis, **columns: object) -> Mapping[str, str]:
    """What the threats are where comparisons have these values."""
    rows = analysis.tables["comparisons"]
    changed = rows.with_columns(pl.lit(value, dtype=rows.schema[name]).alias(name) for name, value in columns.items())
    tables = {**analysis.tables, "comparisons": changed}
    found = threat_rows({name: table.to_dicts() for name, table in tables.items()}, ("latency_mean_ms",))
    tables["threats"] = pl.DataFrame(found, schema=analysis.tables["threats"].schema)
    return said(report_data(replace(analysis, tables=tables)))


def clustered(analysis: Analysis, **columns: object) -> str:
    """What threats say of blocks on several days where comparisons have these values."""
    return threats_of(analysis, cluster_low=0.9, cluster_high=1.1, **columns)["Blocks of several days"]


def test_days_are_judged_by_from_five_on_and_where_they_have_a_verdict(analysis: Analysis) -> None:
    judged = clustered(analysis, clusters=5, cluster_verdict="undecided", verdict="equivalent")
    assert judged.startswith("CAUTION: over 5 days")
    same = clustered(analysis, clusters=5, cluster_verdict="equivalent", verdict="equivalent")
    assert "every verdict would be the same" in same
    few = clustered(analysis, clusters=2, cluster_verdict="undecided", verdict="equivalent")
    assert few == "There are 2 days; fewer than 5 say too little about others for a verdict."
    assert "have no verdict" in clustered(analysis, clusters=9, cluster_verdict=None)


def test_in_a_sequential_design_no_verdict_is_said_to_depend_on_outliers(analysis: Analysis) -> None:
    looked = threats_of(analysis, outliers=1, ratio_without_outliers=0.99, verdict_without_outliers=None)
    assert looked["Outliers"].endswith("There is no verdict without them.")
