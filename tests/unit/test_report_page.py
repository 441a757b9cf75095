"""The page of a small study: every number has evidence, it needs no network, and it is sound for whoever reads it how."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from report_page import Page, is_of, sentences, words
from support.studies import analysed, small_study

from sparkray.analysis import Analysis, analyse
from sparkray.report import Written, report_data, write_report
from sparkray.report.data import ReportData
from sparkray.report.page import page, template, texts
from sparkray.report.paper import points


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysed(models=2, runs=5)


@pytest.fixture(scope="module")
def data(analysis: Analysis) -> ReportData:
    return report_data(analysis)


@pytest.fixture(scope="module")
def written(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_report(analysis, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(written: Written) -> str:
    return written.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


def test_every_number_of_a_table_is_a_cell_of_its_row(parsed: Page, data: ReportData) -> None:
    assert len(parsed.cells) > 80
    assert [cell for cell in parsed.cells if not is_of(data, cell)] == []


def test_a_changed_number_is_found(html: str, data: ReportData) -> None:
    row = next(row for row in data.rows("comparisons", primary=True) if row["metric"].endswith("_gib"))
    shown = f"{row['ratio']:.4f}"
    assert f">{shown}</td>" in html
    wrong = Page(html.replace(f">{shown}</td>", ">1.2345</td>", 1))
    assert [cell.text for cell in wrong.cells if not is_of(data, cell)] == ["1.2345"]


def test_changed_rows_change_the_page(analysis: Analysis) -> None:
    frame = analysis.tables["comparisons"]
    tables = {**analysis.tables, "comparisons": frame.with_columns(ratio=frame["ratio"] + 0.1)}
    changed = page(report_data(replace(analysis, tables=tables)), [])
    shown = {cell.text for cell in Page(changed).cells if cell.trace.startswith("comparisons/")}
    memory = frame.filter(pl.col("primary") & pl.col("metric").str.ends_with("_gib"))["ratio"].drop_nulls().to_list()
    assert {f"{ratio + 0.1:.4f}" for ratio in memory} <= shown
    assert not {f"{ratio:.4f}" for ratio in memory} & shown


def test_every_link_inside_the_page_has_its_target(parsed: Page) -> None:
    assert [name for name, count in Counter(parsed.ids).items() if count > 1] == []
    targets = {given["href"][1:] for tag, given in parsed.tags if tag == "a" and given["href"].startswith("#")}
    assert targets <= set(parsed.ids)


def test_every_trace_of_the_page_can_be_opened(parsed: Page, data: ReportData) -> None:
    assert len(parsed.traces) > 40
    for trace in sorted(parsed.traces):
        evidence, rows = data.open(trace)
        assert evidence.line
        assert len(rows) > 0 or evidence.count == 0, trace


def test_what_is_computed_from_all_runs_says_so_and_not_from_the_pairs_alone(analysis: Analysis) -> None:
    frame = analysis.frames
    assert frame is not None
    trace = "comparisons/Qwen2-1.5B//container_baseline/latency_mean_ms"
    data = report_data(analysis)
    paired, arms = data.evidence(trace, "ratio"), data.evidence(trace, "cohen_d")
    assert (paired.trace, arms.trace) == (trace, f"{trace}#arms")
    assert "block IN" in paired.where
    assert "block IN" not in arms.where
    shares = data.evidence("diagnostics/Qwen2-1.5B//native/latency_mean_ms", "share_within_pct")
    assert (shares.count, data.evidence("diagnostics/Qwen2-1.5B//native/latency_mean_ms", "lag1").count) == (15, 5)
    assert data.open(f"{trace}#arms")[1].height == arms.count


def test_it_is_short_plain_and_narrow(html: str) -> None:
    assert len(words(html).split()) < 2000
    assert [one for one in sentences(html) if len(one.split()) > 30] == []
    assert [one for one in sentences(html) if re.search(r"[a-z)%][.;:][A-Z][a-z]", one)] == [], "no space between"
    heads = re.findall(r"<thead>(.*?)</thead>", html, re.DOTALL)
    assert heads
    assert max(head.count("<th ") for head in heads) <= 8
    assert len(html.encode()) < 500_000


def test_one_model_takes_fewer_words(tmp_path: Path) -> None:
    data = report_data(analyse(small_study(tmp_path, models=1, runs=3, levels=("",), merged=True)))
    assert len(words(page(data, [])).split()) < 1700


def test_the_decision_comes_first_with_a_row_for_each_model(html: str, data: ReportData) -> None:
    first = html[: html.index("<nav")]
    assert first.index('class="decision"') < first.index('id="table-decision"') < first.index('id="figure-forest"')
    rows = re.findall(r"<tbody>(.*?)</tbody>", first, re.DOTALL)[0].count("<tr>")
    assert rows == len(data.context["models"])
    assert next(text for level, text in Page(html).headings if level == 2) == "Decision"


def test_a_derived_row_leads_to_the_rows_behind_it(data: ReportData) -> None:
    for name in ("costs", "memory_split"):
        for row in data.rows(name):
            behind = list(data.behind(row["trace"]))
            assert behind, row["trace"]
            for evidence, rows in behind:
                assert evidence.table == "runs"
                assert len(rows) == evidence.count


def test_files_that_the_page_names_are_there(parsed: Page, written: Written) -> None:
    named = [given["href"] for tag, given in parsed.tags if tag == "a" and not given["href"].startswith("#")]
    assert len(named) > 20
    assert [name for name in named if not (written.page.parent / name).exists()] == []


def test_it_needs_neither_network_nor_script(html: str, parsed: Page) -> None:
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not re.search(r"@import|url\((?!#)", html)
    outside = [
        value
        for _, given in parsed.tags
        for name, value in given.items()
        if name in ("src", "href", "xlink:href", "srcset") and re.match(r"(?:[a-z]+:)?//", value)
    ]
    assert outside == []
    policy = next(given["content"] for tag, given in parsed.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_structure_for_screen_readers(parsed: Page) -> None:
    tags = Counter(tag for tag, _ in parsed.tags)
    assert tags["main"] == tags["h1"] == tags["nav"] == tags["header"] == tags["footer"] == 1
    levels = [level for level, _ in parsed.headings]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert next(given for tag, given in parsed.tags if tag == "html") == {"lang": "en"}
    assert next(given for tag, given in parsed.tags if tag == "a")["class"] == "skip"
    assert tags["caption"] == tags["table"] > 5
    assert {given.get("scope") for tag, given in parsed.tags if tag == "th"} == {"col", "row"}
    assert tags["figcaption"] == tags["figure"] == tags["svg"] > 2
    for tag, given in parsed.tags:
        if tag == "svg":
            assert given["role"] == "img"
            assert set(given["aria-labelledby"].split()) <= set(parsed.ids)
        if given.get("class") in ("scroll", "drawing"):
            assert given["tabindex"] == "0"
            assert given["aria-label"]
    labelled = [given["aria-labelledby"] for _, given in parsed.tags if "aria-labelledby" in given]
    assert {name for names in labelled for name in names.split()} <= set(parsed.ids)


def test_a_simulated_study_says_so_and_another_does_not(html: str, analysis: Analysis) -> None:
    assert "SIMULATED" in html
    measured = replace(analysis, context={**analysis.context, "simulated": False})
    assert "SIMULATED" not in page(report_data(measured), [])


@pytest.mark.slow
def test_incomplete_data_are_reported(analysis: Analysis) -> None:
    comparisons = analysis.tables["comparisons"]
    short = comparisons.with_columns(pairs_planned=comparisons["n"] + 1)
    assert "Not complete" in page(report_data(replace(analysis, tables={**analysis.tables, "comparisons": short})), [])
    assert "Not complete" not in page(report_data(analysis), [])


def trials(rejections: int) -> Mapping[str, object]:
    rate = {"rejections": rejections, "experiments": 20, "low": 0.0, "high": 0.2}
    return {"not_estimable": None, "cause": None, "trials": [{"paired": rate, "blocked": rate}], "reach": {}}


def calibrated(data: ReportData, *, sound: bool | None, **metrics: object) -> str:
    """The page of the same numbers from a machine whose calibration found this."""
    told = {"sound": sound, "runs": 120, "model": "m", "environment": "native", "host": "box", "metrics": metrics}
    return page(ReportData(replace(data.analysis, context={**data.context, "calibration": told}), data.own), [])


LOST = {"not_estimable": "no value"}


def test_what_the_calibration_found_is_reported(data: ReportData, html: str) -> None:
    held = calibrated(data, sound=True, output_throughput_tok_s=trials(1), host_available_drop_peak_gib=LOST)
    assert "1 of 20" in held
    assert "not calibrated" not in held
    failed = calibrated(data, sound=False, output_throughput_tok_s=trials(9))
    assert failed.index("calibration FAILED") < failed.index('id="table-decision"')
    assert "calibration could judge nothing" in calibrated(data, sound=None, output_throughput_tok_s=LOST)
    assert "This machine is not calibrated" in html


EDGES: Mapping[str, Mapping[str, object]] = {
    "one run": {"models": 1, "runs": 1},
    "two runs": {"models": 1, "runs": 2},
    "no container came up": {"models": 1, "runs": 3, "failing": ("Qwen2-1.5B",)},
    "one environment": {"models": 1, "runs": 3, "environments": ("native",)},
    "no gpu, no requests, no samples": {"models": 1, "runs": 3, "gpu": False, "requests": 0, "samples": 0},
    "levels": {"models": 1, "runs": 3, "levels": ("concurrency=1", "concurrency=4 batch=8")},
    "no noise": {"models": 2, "runs": 3, "cv": 0.0, "block_cv": 0.0},
}


_LONG = ("two runs", "no gpu, no requests, no samples")
"""What the others nearly are."""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=[pytest.mark.slow] if name in _LONG else [])
        for name, changes in EDGES.items()
    ],
)
@pytest.mark.slow
def test_scanty_data_make_a_page_all_the_same(tmp_path: Path, changes: Mapping[str, object]) -> None:
    found = analyse(small_study(tmp_path, merged=True, **{"flaky": 0, **changes}))  # type: ignore[arg-type]
    data = report_data(found)
    parsed = Page(page(data, []))
    assert [cell for cell in parsed.cells if not is_of(data, cell)] == []
    assert not re.search(r"\b(nan|None|inf)\b", words(parsed.source))
    assert not [
        one
        for name in ("methods", "threats", "assumptions")
        for one in points(texts(data), f"text/{name}.j2")
        if not all(one)
    ]


def test_a_dataset_without_its_experiment_makes_a_page(tmp_path: Path) -> None:
    folder = small_study(tmp_path, models=1, runs=3)
    (folder / "experiment.json").unlink()
    assert "No margins were declared" in page(report_data(analyse(folder)), [])


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of `#rrggbb` or `#rgb`."""
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_double_a_by_day_and_by_night() -> None:
    themes = re.findall(r":root \{(.*?)\}", template("page.css"), re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", theme))
        for ink in ("ink", "soft", "link", "equivalent", "different", "undecided"):
            for paper in ("paper", "sheet"):
                assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5


def test_the_measure_of_contrast_is_the_published_one() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_a_sequential_study_reports_its_interim_analyses_and_is_not_called_incomplete(analysis: Analysis) -> None:
    comparisons = analysis.tables["comparisons"]
    early = comparisons.with_columns(pairs_planned=comparisons["n"] + 25).filter(pl.col("verdict") != "undecided")
    context = {**analysis.context, "sequential": {"looks": [4, 6], "spending": "linear"}}
    data = report_data(replace(analysis, tables={**analysis.tables, "comparisons": early}, context=context))
    text = page(data, [])
    assert "Not complete" not in text
    assert "After 4 and 6 pairs" in text


@pytest.mark.slow
def test_margins_that_were_not_declared_are_reported(analysis: Analysis) -> None:
    words = "not those that the experiment declared"
    assert words not in page(report_data(analysis), [])
    other = {**analysis.context, "margins": {**analysis.context["margins"], "latency_mean_ms": 0.2}}
    assert words in page(report_data(replace(analysis, context=other)), [])


def test_steps_of_the_load_have_a_sentence_and_a_row_for_each_knee(tmp_path: Path) -> None:
    levels = tuple(f"concurrency={load}" for load in (1, 2, 4, 8))
    data = report_data(analyse(small_study(tmp_path, models=1, runs=3, levels=levels, merged=True)))
    made = page(data, [])
    rows = data.rows("knee")
    assert len(rows) == 3
    assert made.count("<li>Throughput ") == len(rows)
    cells = [cell for cell in Page(made).cells if cell.trace.startswith("knee/")]
    assert len(cells) == 8 * len(rows)
    assert [cell for cell in cells if not is_of(data, cell)] == []
