"""`analyze`: the answer on the screen, one document for programs, files where they were asked for, and plain errors."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Ended, row
from support.studies import small_study

from sparkray.records import Outcome
from sparkray.store import open_dataset

Call = Callable[..., Ended]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    small_study(folder, models=1)
    return folder


def test_it_says_the_verdicts_and_where_the_files_are(command_line: Call, results: Path) -> None:
    ended = command_line("analyze", "--results-dir", str(results))
    assert (ended.status, ended.err) == (0, "")
    first, second, *rest = ended.out.splitlines()
    assert first.startswith("Docker vs native: slower by more than 1 %. Throughput -")
    assert "6 pairs" in first
    assert second.startswith("Tuned Docker vs native: no difference beyond 1 %. Throughput ")
    assert len(rest) <= 8
    assert "18 ok" in ended.out
    assert "SIMULATED" in ended.out
    folder = results / "small" / "analysis"
    assert str(folder) in ended.out
    assert (folder / "comparisons.parquet").is_file()
    assert (folder / "comparisons.tex").is_file()


def test_json_is_one_document(command_line: Call, results: Path, tmp_path: Path) -> None:
    ended = command_line(
        "analyze", "--experiment", "small", "--results-dir", str(results), "--json", "--output", str(tmp_path)
    )
    document = json.loads(ended.out, parse_constant=pytest.fail)
    assert ended.status == 0
    assert document["runs_used"] == 18
    assert {c["verdict"] for c in document["comparisons"]} == {"different", "equivalent"}
    assert {q["question"] for q in document["questions"]} == {1, 2, 3, 4, 5}
    assert sorted(document["files"]) == sorted(map(str, tmp_path.iterdir()))


def test_a_margin_of_ones_own_is_taken(command_line: Call, results: Path, tmp_path: Path) -> None:
    words = ("--margin", "output_throughput_tok_s=0.05", "--margin", "latency_mean_ms=0.05", "--output", str(tmp_path))
    ended = command_line("analyze", "--results-dir", str(results), *words)
    assert ended.out.startswith("Docker vs native: not slower by more than 5 %, but it needs more memory.")


@pytest.mark.parametrize(
    ("margin", "message"),
    [
        ("latency_mean_ms", "is not METRIC=M"),
        ("latency_mean_ms=much", "is not METRIC=M"),
        ("latency_mean_ms=0", "is not METRIC=M"),
        ("latency_mean_ms=1.5", "is not METRIC=M"),
        ("latency_mean=0.01", "Did you mean 'latency_mean_ms'"),
    ],
)
def test_a_margin_that_is_none_is_refused(command_line: Call, results: Path, margin: str, message: str) -> None:
    ended = command_line("analyze", "--results-dir", str(results), "--margin", margin)
    assert ended.status == 2
    assert message in ended.err


def test_without_a_dataset_it_says_what_to_do(command_line: Call, results: Path, tmp_path: Path) -> None:
    none = command_line("analyze", "--results-dir", str(tmp_path))
    assert none.status == 2
    assert "no dataset in" in none.err
    assert "sparkray quick" in none.err
    other = command_line("analyze", "--results-dir", str(results), "--experiment", "large")
    assert other.status == 2
    assert "no dataset of 'large'" in other.err
    assert "There are: small" in other.err


def test_without_an_ok_run_it_says_so_and_ends_with_1(command_line: Call, tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "bad", "0" * 64)
    for environment in ("native", "container_baseline"):
        dataset.write(Outcome(row=row(environment, environment=environment, status="failed", reason="no")))
    ended = command_line("analyze", "--results-dir", str(tmp_path))
    assert ended.status == 1
    assert "No run is ok" in ended.out
    assert "2 attempts (2 failed)" in ended.out
    assert json.loads(command_line("analyze", "--results-dir", str(tmp_path), "--json").out)["runs_used"] == 0


def test_the_newest_dataset_is_taken(command_line: Call, tmp_path: Path) -> None:
    for name, value in (("one", 100.0), ("two", 200.0)):
        for generation in range(2):
            dataset = open_dataset(tmp_path, name, "0" * 64, fresh=True)
            for block in range(3):
                for environment in ("native", "container_baseline"):
                    made = row(
                        f"{environment}{block}",
                        environment=environment,
                        block=block,
                        output_throughput_tok_s=value + generation,
                    )
                    dataset.write(Outcome(row=made))
    os.utime(tmp_path / "one@2" / "runs", (2e9, 2e9))
    found = json.loads(command_line("analyze", "--results-dir", str(tmp_path), "--json").out)
    assert found["dataset"] == str(tmp_path / "one@2")
    found = json.loads(command_line("analyze", "--results-dir", str(tmp_path), "--json", "--experiment", "two").out)
    assert found["dataset"] == str(tmp_path / "two@2")
