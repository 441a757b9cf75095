"""`report` as a user meets it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Ended
from support.studies import small_study

CommandLine = Callable[..., Ended]
RATIO = "comparisons/Qwen2-1.5B//container_baseline/latency_mean_ms"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    small_study(folder, models=1, runs=3, environments=("native", "container_baseline"), flaky=0)
    return folder


@pytest.fixture(scope="module")
def document(command_line: CommandLine, results: Path) -> dict[str, object]:
    ended = command_line("report", "--results-dir", str(results), "--json")
    assert (ended.status, ended.err) == (0, "")
    found: dict[str, object] = json.loads(ended.out)
    return found


def test_it_writes_page_figures_and_tables(document: dict[str, object], results: Path) -> None:
    folder = results / "small" / "report"
    assert document["page"] == str(folder / "index.html")
    assert (folder / "index.html").read_text().startswith("<!DOCTYPE html>")
    for files in document["figures"].values():  # type: ignore[attr-defined]
        assert all(Path(path).stat().st_size > 1000 for path in files.values())
    assert (folder / "tables" / "comparisons.parquet").is_file()
    assert (folder / "tables" / "decisions.csv").is_file()
    assert document["paper"] is None
    assert any("SIMULATED" in line for line in document["answer"])  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_second_report_of_the_same_data_is_the_same(
    document: dict[str, object], command_line: CommandLine, results: Path, tmp_path: Path
) -> None:
    ended = command_line(
        "report", "--results-dir", str(results), "--experiment", "small", "--output", str(tmp_path / "new")
    )
    assert ended.status == 0
    assert str(tmp_path / "new" / "index.html") in ended.out
    assert ended.out.startswith("Docker vs native: ")
    first = Path(str(document["page"]))
    assert (tmp_path / "new" / "index.html").read_bytes() == first.read_bytes()


def test_the_rows_of_a_number_are_printed(command_line: CommandLine, results: Path) -> None:
    ended = command_line("report", "--results-dir", str(results), "--trace", RATIO)
    assert ended.status == 0
    assert "6 rows" in ended.out
    assert ended.out.count("container_baseline ┆") == 3
    told = json.loads(command_line("report", "--results-dir", str(results), "--trace", RATIO, "--json").out)
    assert told["count"] == len(told["rows"]) == 6
    assert {row["environment"] for row in told["rows"]} == {"native", "container_baseline"}


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        ("tally/comparisons&primary=true", "primary = true"),
        ("context/margins", "latency_mean_ms"),
        ("fit/Qwen2-1.5B", "Model card Qwen2-1.5B"),
        ("method/alpha", "docs/explanation/methods.md"),
    ],
)
def test_numbers_that_the_report_derives_have_rows_too(
    command_line: CommandLine, results: Path, trace: str, told: str
) -> None:
    ended = command_line("report", "--results-dir", str(results), "--trace", trace)
    assert ended.status == 0
    assert told in ended.out


def test_of_many_rows_it_is_said_how_many_are_shown(command_line: CommandLine, tmp_path: Path) -> None:
    small_study(tmp_path, models=1, runs=3, requests=500, environments=("native",), flaky=0)
    trace = "requests/Qwen2-1.5B//native/latency_ms/0.50"
    ended = command_line("report", "--results-dir", str(tmp_path), "--trace", trace)
    assert "The first 1000 of 1500 rows" in ended.out
    told = json.loads(command_line("report", "--results-dir", str(tmp_path), "--trace", trace, "--json").out)
    assert (told["count"], told["shown"], len(told["rows"])) == (1500, 1000, 1000)


def test_behind_a_derived_number_stand_the_runs(command_line: CommandLine, results: Path) -> None:
    trace = "costs/Qwen2-1.5B//container_baseline"
    shown = json.loads(command_line("report", "--results-dir", str(results), "--trace", trace, "--json").out)
    assert {one["trace"].partition("/")[0] for one in shown["behind"]} == {"comparisons", "descriptive"}
    assert {one["count"] for one in shown["behind"] if one["trace"].startswith("comparisons")} == {6}


@pytest.mark.parametrize(
    "trace", ["nothing", "comparisons/Nobody//native/latency_mean_ms", "tally/x&y=", "context/no/such"]
)
def test_a_trace_that_is_none_is_refused(command_line: CommandLine, results: Path, trace: str) -> None:
    ended = command_line("report", "--results-dir", str(results), "--trace", trace)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("sparkray: ")


def test_without_a_dataset_there_is_a_remedy(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line("report", "--results-dir", str(tmp_path))
    assert ended.status == 2
    assert "sparkray quick" in ended.err


def test_against_a_folder_that_is_no_dataset(command_line: CommandLine, results: Path, tmp_path: Path) -> None:
    ended = command_line("report", "--results-dir", str(results), "--against", str(tmp_path))
    assert ended.status == 2
    assert "is not a dataset" in ended.err


@pytest.mark.parametrize("name", ["index.html", "figures/x.svg", "tables/runs.csv"])
def test_a_fifo_among_what_a_report_writes_is_refused_by_name(
    command_line: CommandLine, results: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "page" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    ended = command_line("report", "--results-dir", str(results), "--output", str(tmp_path / "page"))
    assert ended.status == 3
    assert f"{path} cannot be written: it is a FIFO" in ended.err


@pytest.mark.root
@pytest.mark.parametrize("name", ["index.html", "figures"])
def test_a_link_of_another_user_is_not_written_through(
    command_line: CommandLine, results: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "kept").mkdir()
    link = tmp_path / "page" / name
    link.parent.mkdir()
    link.symlink_to(tmp_path / "kept" if name == "figures" else tmp_path / "kept" / "new")
    os.lchown(link, 65534, 65534)
    ended = command_line("report", "--results-dir", str(results), "--output", str(link.parent))
    assert ended.status == 3
    assert f"{link} cannot be written: it is a link of another user's" in ended.err
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_folder_that_cannot_be_written(command_line: CommandLine, results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = command_line("report", "--results-dir", str(results), "--output", str(tmp_path / "file" / "sub"))
    assert ended.status == 3
    assert "--output" in ended.err


@pytest.mark.slow
def test_paper_and_another_study(command_line: CommandLine, results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(results / "small", other)
    ended = command_line(
        "report", "--results-dir", str(results), "--output", str(tmp_path / "out"), "--paper", "--against", str(other)
    )
    assert ended.status == 0
    assert "latexmk" in ended.out
    assert (tmp_path / "out" / "paper" / "main.tex").is_file()
    assert (tmp_path / "out" / "figures" / "between_studies.pdf").is_file()
    assert "This study against the other" in (tmp_path / "out" / "index.html").read_text()
