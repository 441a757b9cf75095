"""The section of an optimisation: all of the document is told, every number of it has evidence, what lacks says so."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders import Ended
from optimised_document import LEVELS, MEANS, METRIC, confirmation, document
from report_page import Page, is_of, sentences, words
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.derived.optimisation import runs_condition
from sparkray.analysis.latex import latex
from sparkray.analysis.optimized import FORMAT, read
from sparkray.config.docker import DockerOptions
from sparkray.config.docker_columns import column_values
from sparkray.errors import DatasetError
from sparkray.report import report_data, write_report
from sparkray.report.data import ReportData
from sparkray.report.figures import draw
from sparkray.report.page import page

CommandLine = Callable[..., Ended]
FIGURES = ("flag_effects", "pareto", "waterfall")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    environments = ("native", "container_baseline")
    return small_study(tmp_path_factory.mktemp("study"), models=1, runs=3, environments=environments, flaky=0)


@pytest.fixture(scope="module")
def analysis(study: Path) -> Analysis:
    return analyse(study)


@pytest.fixture(scope="module")
def data(analysis: Analysis) -> ReportData:
    return report_data(analysis, optimised=document())


@pytest.fixture(scope="module")
def written(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(analysis, tmp_path_factory.mktemp("report"), optimised=document()).page


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def told(data: ReportData) -> str:
    """The section's words."""
    text = page(data, [])
    return unescape(words(text[text.index('id="flags-head"') : text.index('id="advice-head"')]))


def test_every_number_of_the_section_is_a_cell_of_its_row(html: str, data: ReportData) -> None:
    parsed = Page(html)
    prefixes = ("flag_", "attribution/", "hypotheses/", "layers_")
    assert [cell for cell in parsed.cells if cell.trace.startswith(prefixes) and not is_of(data, cell)] == []
    traces = [trace for trace in parsed.traces if trace.startswith(prefixes)]
    assert len(traces) > 20
    for trace in traces:
        evidence, rows = data.open(trace)
        assert evidence.how.startswith("small-optimize.json, ")
        assert len(rows) == 1
    assert [one for one in sentences(html) if len(one.split()) > 30] == []


def test_what_a_report_derives_is_there_in_every_form(written: Path, data: ReportData, analysis: Analysis) -> None:
    whole = report_data(analysis, analysis, optimised=document())
    folder = written.parent / "tables"
    for name, frame in data.own.items():
        assert json.loads((folder / f"report-{name}.json").read_text()) == json.loads(frame.write_json())
        assert pl.read_parquet(folder / f"report-{name}.parquet").equals(frame)
        assert (folder / f"report-{name}.tex").is_file()
    for name, frame in whole.own.items():
        metrics = frame["metric"].unique().to_list() if "metric" in frame.columns else []
        lines = [line for line in (latex(name, frame, metrics) or "").splitlines() if line.endswith("\\\\")]
        assert len(lines) > len(frame) or frame.is_empty()
        assert all(line.isascii() for line in lines)


def test_another_number_in_the_document_is_another_in_the_page(analysis: Analysis) -> None:
    changed = document()
    level = next(level for level in changed["levels"] if level["factor"] == "seccomp")
    level["effect"]["gain_pct"] = 3.77
    assert "+3.77 %" in told(report_data(analysis, optimised=changed))
    assert "+3.77 %" not in told(report_data(analysis, optimised=document()))


def test_what_a_flag_gained_alone_stands_beside_its_price(analysis: Analysis) -> None:
    options = DockerOptions(init=True, shm_size="8g", security_opt=("seccomp=unconfined",))
    context = {**analysis.context, "docker_options": {"container_baseline": column_values(options)}}
    section = told(report_data(replace(analysis, context=context), optimised=document()))
    assert "Flags with a security price: --security-opt=seccomp=unconfined." in section
    rows = section[section.index("What each flag gives up, and what it gains alone.") :]
    assert re.search(r"seccomp=unconfined\s+weakens isolation\s+can act\s+\+3\.10 %", rows)
    assert re.search(r"--shm-size=8g\s+gives up no isolation\s+can act\s+not measured", rows)


def test_all_of_the_document_is_reported(data: ReportData) -> None:
    section = told(data)
    for reason in [level.reason for level in LEVELS if level.reason]:
        assert reason in section, reason
    assert "Confirmed:" in section
    assert section.index("Confirmed:") < section.index("Candidates on fresh") < section.index("Every flag that was")
    for one in (*LEVELS, *confirmation().candidates):
        assert (one.level if hasattr(one, "level") else one.environment) in section
    assert re.search(r"1 cannot be judged, 1 contradicted, 1 supported", section)


def test_a_document_that_does_not_tell_models_apart_is_read_all_the_same(analysis: Analysis) -> None:
    older = document()
    for each in (*older["levels"], *older["confirmation"]["candidates"]):
        del each["by_model"]
    del older["search"]["corrected"]
    assert "+3.10 %" in told(report_data(analysis, optimised=older))


def test_a_refused_optimum_an_unfinished_and_a_simulated_one_say_so(analysis: Analysis) -> None:
    refused = told(report_data(analysis, optimised=document(confirmation=confirmation(wins=False))))
    assert "No candidate is confirmed" in refused
    assert "the tuned container is the baseline" in refused
    early = document(confirmation=None, search=None, attribution=None, hypotheses=(), output=None, complete=False,
                     datasets={"screen": "results/small-screen"})  # fmt: skip
    begun = report_data(analysis, optimised=early)
    assert "Not complete" in told(begun)
    assert "the confirmation was not reached" in told(begun)
    assert draw("pareto", begun) is None
    assert draw("waterfall", begun) is None
    simulated = page(report_data(analysis, optimised=document(simulated=True)), [])
    assert "SIMULATED" in simulated


def test_the_layers_and_what_is_left_make_the_whole(data: ReportData) -> None:
    def value(**where: object) -> float:
        return float(data.rows("attribution", **where)[0]["value"])

    whole = value(role="total")
    assert whole == pytest.approx(MEANS["container_baseline"] - MEANS["host"], abs=0.2)
    for way in ("add", "leave"):
        parts = value(role="attributed", direction=way) + value(role="residual", direction=way)
        assert parts == pytest.approx(whole)
        steps = [row["value"] for row in data.rows("attribution", role="step") if row["direction"] in ("start", way)]
        assert sum(steps) == pytest.approx(value(role="attributed", direction=way))


@pytest.mark.parametrize("name", FIGURES)
def test_only_an_optimisation_has_these_figures(name: str, data: ReportData, analysis: Analysis) -> None:
    assert draw(name, data) is not None
    assert draw(name, report_data(analysis)) is None


def test_a_condition_leads_to_the_rows_of_a_dataset(study: Path) -> None:
    runs = pl.read_parquet(study / "runs", hive_partitioning=True)
    with pl.SQLContext(runs=runs) as sql:
        rows = sql.execute(f"SELECT * FROM runs WHERE {runs_condition(['container_baseline'])}").collect()
        one = sql.execute(f"SELECT * FROM runs WHERE {runs_condition((), [runs['run_id'][0]])}").collect()
    assert len(rows) == 3
    assert set(rows["environment"]) == {"container_baseline"}
    assert one["run_id"].to_list() == [runs["run_id"][0]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    small_study(tmp_path, models=1, runs=2, environments=("native", "container_baseline"), flaky=0)
    (tmp_path / "small-optimize.json").write_text(json.dumps(document()))
    return tmp_path


def test_report_finds_the_document_beside_the_dataset(command_line: CommandLine, results: Path) -> None:
    trace = "flag_levels/seccomp=unconfined"
    ended = command_line("report", "--results-dir", str(results), "--trace", trace, "--json")
    assert (ended.status, ended.err) == (0, "")
    found: Mapping[str, Any] = json.loads(ended.out)
    assert found["rows"][0]["gain_pct"] == pytest.approx(3.1)
    assert "small-screen, SELECT * FROM runs WHERE" in found["how"]


def test_an_experiment_that_was_only_optimised_is_reported_by_its_stages(
    command_line: CommandLine, results: Path
) -> None:
    (results / "small").rename(results / "small-confirm")
    for name in ("small", "small-optimize", "small-confirm"):
        ended = command_line(
            "report", "--results-dir", str(results), "--experiment", name, "--trace", "flag_facts/metric", "--json"
        )
        assert ended.status == 0, ended.err
        assert json.loads(ended.out)["rows"][0]["text"] == METRIC


def test_a_document_of_another_format_is_refused(command_line: CommandLine, results: Path) -> None:
    (results / "small-optimize.json").write_text("{}")
    ended = command_line("report", "--results-dir", str(results), "--trace", "flag_facts/metric")
    assert ended.status == 2
    assert "not of the format" in ended.err


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("levels", {}, "levels = {}"),
        ("levels", [1], "levels.0 = 1"),
        ("margin", "x", "margin = 'x'"),
        ("search", [], "search = []"),
        ("datasets", None, "datasets = None"),
        ("metric", ..., "key 'metric' is missing"),
        ("margin", 1e999, "margin = inf"),
    ],
)
def test_a_document_of_another_shape_is_refused_by_key(tmp_path: Path, key: str, value: object, said: str) -> None:
    path = tmp_path / "question-optimize.json"
    sound = json.loads(json.dumps(document()))
    path.write_text(json.dumps(sound))
    assert read(path) == sound
    changed = {**sound, key: value}
    if value is ...:
        del changed[key]
    for form in (FORMAT, "sparkray-optimize/1"):  # the second has none of the names that it had
        path.write_text(json.dumps({**changed, "format": form}))
        with pytest.raises(DatasetError) as refused:
            read(path)
        assert str(path) in refused.value.message
        assert refused.value.remedy
        assert said in refused.value.message or form != FORMAT
