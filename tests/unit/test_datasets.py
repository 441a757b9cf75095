"""A dataset is named by its path, those of `--fresh` too, in every verb that takes one."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Ended
from support.studies import small_study

from sparkray.errors import DatasetError
from sparkray.store import dataset_at, open_dataset
from sparkray.sweep.datasets import newest

Call = Callable[..., Ended]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` and, as `--fresh` names it, `small@2`."""
    root = tmp_path_factory.mktemp("results")
    small_study(root, models=1, runs=3)
    shutil.copytree(root / "small", root / "small@2")
    return root


def test_a_path_and_a_name_with_a_number_name_that_dataset(results: Path) -> None:
    assert dataset_at(results / "small@2").path == results / "small@2"
    assert newest(results, "small@2").path == results / "small@2"
    assert newest(results, "small").path == results / "small@2"
    with pytest.raises(DatasetError, match="no dataset of 'small@3'"):
        newest(results, "small@3")


def test_a_folder_that_is_no_dataset_names_those_that_are_near(results: Path) -> None:
    for folder in (results, results / "smal"):
        with pytest.raises(DatasetError) as raised:
            dataset_at(folder)
        assert "small@2" in str(raised.value.remedy)


def test_status_analyze_and_their_exports_take_a_path(command_line: Call, results: Path, tmp_path: Path) -> None:
    ended = command_line("status", str(results / "small@2"), "--json")
    (one,) = json.loads(ended.out)["datasets"]
    assert one["dataset"] == str(results / "small@2")
    table = tmp_path / "table.md"
    ended = command_line(
        "analyze", str(results / "small@2"), "--output", str(tmp_path / "out"), "--export-markdown", str(table)
    )
    assert ended.status == 0
    assert ended.out.startswith("Docker vs native: ")
    assert "SIMULATED: runs of this dataset are from a simulated engine." in ended.out
    assert len(ended.out.splitlines()) <= 10
    head, rule, *rows = table.read_text().splitlines()
    assert head.startswith("| model | environment | Output throughput (tok/s) |")
    assert set(rule) <= set("|:-")
    assert rows[0].startswith("| ")


def test_a_markdown_file_in_no_folder_is_refused_before_anything_runs(command_line: Call, tmp_path: Path) -> None:
    ended = command_line("baseline", "--site", "cpu", "--yes", "--export-markdown", str(tmp_path / "no" / "x.md"))
    assert ended.status == 2
    assert "does not exist" in ended.err


def test_two_datasets_are_compared_on_the_terminal(command_line: Call, results: Path) -> None:
    ended = command_line("compare-results", str(results / "small"), str(results / "small@2"))
    assert ended.status == 0
    first, *rest = ended.out.splitlines()
    assert first == f"{results / 'small@2'} vs {results / 'small'}: no change beyond the margin."
    assert sum("overhead of" in line for line in rest) == 6
    document = json.loads(
        command_line("compare-results", str(results / "small"), str(results / "small@2"), "--json").out
    )
    assert {row["ratio"] for row in document["differences"] if row["kind"] != "pooled"} == {1.0}
    assert command_line("compare-results", str(results / "small"), str(results / "none")).status == 2


def test_one_without_runs_as_an_interrupted_command_leaves_is_passed_over(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "small", tmp_path / "small")
    empty = open_dataset(tmp_path, "small-screen", "d" * 64)
    later = open_dataset(tmp_path, "small", "other definition")
    assert (empty.path.name, later.path.name) == ("small-screen", "small@2")
    assert newest(tmp_path, None).path == newest(tmp_path, "small").path == tmp_path / "small"
    assert newest(tmp_path, "small-screen").path == empty.path, "there is no other"


def test_a_newer_schema_is_read_with_a_warning(command_line: Call, results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "small", tmp_path / "small")
    path = tmp_path / "small" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "999"}))
    done = command_line("analyze", str(tmp_path / "small"), "--json")
    assert done.status == 0
    assert "written by a newer sparkray (schema 999)" in done.err


def test_follow_shows_what_llamacpp_logs_itself(tmp_path: Path) -> None:
    out = open_dataset(tmp_path, "small", "d").spool / "a1-1" / "out"
    out.mkdir(parents=True)
    (out / "engine.log").write_text("engine says\n")
    (out / "llamacpp.log").write_text("llama_model_loader: loaded\n")
    command = [sys.executable, "-m", "sparkray.sweep", "status", str(tmp_path / "small"), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(4)]
        following.send_signal(signal.SIGINT)
        rest, said = following.communicate(timeout=20)
    assert lines == ["==> a1-1 <==\n", "engine says\n", "==> a1-1 (llamacpp.log) <==\n", "llama_model_loader: loaded\n"]
    assert (following.returncode, rest, said.strip()) == (130, "", "interrupted")


def test_following_a_dataset_without_a_run_says_so(results: Path) -> None:
    command = [sys.executable, "-m", "sparkray.sweep", "status", str(results / "small"), "--follow"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None
        first = following.stderr.readline()
        following.send_signal(signal.SIGINT)
    assert first.startswith("no run is under way in ")
