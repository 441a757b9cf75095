"""Further containers against the baseline container: a contrast for each, paired by block."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from report_page import Page, is_of
from support.studies import small_study

from sparkray.analysis import Analysis, analyse, trace
from sparkray.analysis.provenance_ids import scope_of
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.page import page
from sparkray.report.paper import write_paper

LATENCY, MEMORY = "latency_mean_ms", "host_available_drop_peak_gib"
OCCASION = Path(__file__).parents[2] / "results" / "h200-vllm-docker" / "occasion-4"
SECCOMP, TUNED, BASELINE = "container_seccomp_unconfined", "container_optimized", "container_baseline"
ARMS = ("native", BASELINE, TUNED, SECCOMP, "container:less-pid")
SPEED = {BASELINE: 0.97, TUNED: 0.999, SECCOMP: 0.98, "container:less-pid": 0.98}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("four"), models=2, environments=ARMS, speed_ratio=SPEED))


@pytest.fixture(scope="module")
def data(analysis: Analysis) -> ReportData:
    return report_data(analysis)


def test_docker_without_seccomp_against_docker_with_it_is_a_row_of_the_published_occasion() -> None:
    found = analyse(OCCASION)
    [row] = found.tables["gap"].to_dicts()
    assert (row["environment"], row["against"], row["n"]) == (SECCOMP, BASELINE, 6)
    shown = [f"{100 * (row[name] - 1):+.2f}" for name in ("ratio", "low", "high", "low90", "high90")]
    assert shown == ["+0.79", "-0.78", "+2.39", "-0.45", "+2.05"]
    assert (row["margin"], row["verdict"], row["pairs_needed"]) == (0.01, "undecided", 21)
    assert trace(found, row["trace"]).count == 12


def test_every_further_container_has_its_contrast_but_those_of_a_search(analysis: Analysis) -> None:
    gap = analysis.tables["gap"].filter(metric=LATENCY)
    assert gap["environment"].to_list() == [TUNED, SECCOMP] * 2
    for row in gap.to_dicts():
        truth = SPEED[BASELINE] / SPEED[row["environment"]]
        assert row["low"] < truth * 1.005
        assert row["high"] > truth * 0.995
        assert (row["margin"], row["helps"], row["gap_shown"]) == (0.01, True, True)


def test_one_more_container_adds_members_to_the_families_and_changes_nothing_else(
    analysis: Analysis, tmp_path: Path
) -> None:
    frames = analysis.tables["gap"].filter(environment=TUNED)
    without = small_study(tmp_path, models=2, environments=ARMS, speed_ratio=SPEED, name="three")
    for file in (without / "runs").glob("*.parquet"):
        if pl.read_parquet(file)["environment"].item() in (SECCOMP, "container:less-pid"):
            file.unlink()
    alone = analyse(without).tables["gap"]
    changed = {"p_holm", "sd_ratio_p_holm"}
    for there, here in zip(frames.to_dicts(), alone.to_dicts(), strict=True):
        assert {name for name in there if there[name] != here[name]} <= changed
        assert there["p_holm"] >= here["p_holm"]


def test_question_3_is_answered_for_each(analysis: Analysis) -> None:
    answers = analysis.tables["questions"].filter(question=3, metric=LATENCY, aspect="mean").to_dicts()
    assert [row["environment"] for row in answers] == [TUNED, SECCOMP]
    assert [json.loads(row["numbers"])["closed"] for row in answers] == [2, 0]
    environments = set(trace(analysis, answers[1]["trace"]).rows["environment"])
    assert environments == {"native", BASELINE, SECCOMP}


def test_a_verdict_needs_a_margin_and_a_fixed_number_of_pairs(tmp_path: Path) -> None:
    folder = small_study(tmp_path, models=1)
    file = folder / "experiment.json"
    document = json.loads(file.read_text())
    document["experiment"]["sequential"] = {"looks": [3, 6], "spending": "linear"}
    file.write_text(json.dumps(document))
    row = analyse(folder).tables["gap"].filter(metric=LATENCY).to_dicts()[0]
    why = json.loads(row["why_null"])
    assert (row["verdict"], row["low90"], why["verdict"], why["pairs_needed"]) == (None, None, *["interim_verdict"] * 2)
    assert row["low"] is not None


def test_the_page_and_the_paper_have_a_row_for_each(data: ReportData, tmp_path: Path) -> None:
    source = page(data, [])
    parsed = Page(source)
    ours = [cell for cell in parsed.cells if cell.trace.startswith("gap/")]
    assert {cell.trace.split("/")[3] for cell in ours} == {TUNED, SECCOMP}
    assert [cell for cell in parsed.cells if not is_of(data, cell)] == []
    assert re.search(r"a gap; tuned container closes \d, container seccomp unconfined closes \d\.", source)
    folder = write_paper(data, [], tmp_path).parent
    table = (folder / "tables" / "gap.tex").read_text()
    assert "Qwen2-1.5B, container seccomp unconfined" in table
    main = " ".join((folder / "main.tex").read_text().split())
    assert "the tuned container closes" in main
    assert "the container seccomp unconfined closes none of the" in main


def test_scopes_of_a_further_container_open_all_three_arms(analysis: Analysis) -> None:
    [row] = analysis.tables["gap"].filter(metric=LATENCY, environment=SECCOMP, model="Qwen2-1.5B").to_dicts()
    rows = trace(analysis, row["trace"] + scope_of(row["trace"], "closed_pct")).rows
    assert set(rows["environment"]) == {"native", BASELINE, SECCOMP}
