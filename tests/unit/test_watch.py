"""`status`: what a sweep is doing, from its dataset alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import Ended, row

from sparkray.errors import DatasetError
from sparkray.records import Outcome
from sparkray.runtimes.linux.owner import this_process
from sparkray.store import Dataset, open_dataset
from sparkray.store.progress import end_progress
from sparkray.sweep.datasets import datasets_of
from sparkray.sweep.status import state_of

Call = Callable[..., Ended]

NOW = {"run": 9, "of": 12, "run_id": "r9", "environment": "native", "model": "Alpha", "since": 0.0, "eta_s": 3675}


def stored(tmp_path: Path, name: str = "question") -> Dataset:
    dataset = open_dataset(tmp_path, name, "d")
    for number in range(7):
        ended = datetime(2026, 1, 1, 12, number, tzinfo=UTC)
        dataset.write(Outcome(row(f"r{number}", ended_at=ended, output_throughput_tok_s=100.0 + number)))
    bad = row("bad", status="invalid", reason="a wrong model", ended_at=datetime(2026, 1, 1, 13, tzinfo=UTC))
    dataset.write(Outcome(bad))
    return dataset


def test_the_state_counts_all_and_shows_the_last_in_order_of_time(tmp_path: Path) -> None:
    state = state_of(stored(tmp_path))
    assert state["counts"] == {"ok": 7, "invalid": 1}
    assert [r["run_id"] for r in state["last"]] == ["r3", "r4", "r5", "r6", "bad"]
    assert (state["experiment"], state["now"]) == ("question", None)


def test_what_goes_on_is_shown_while_an_attempt_is_in_the_spool(tmp_path: Path) -> None:
    dataset = stored(tmp_path)
    dataset.write_progress(NOW)
    assert state_of(dataset)["now"] is None
    (dataset.spool / "r9").mkdir()
    assert state_of(dataset)["now"] == NOW
    dataset.write_progress({"run": "nine"})
    assert state_of(dataset)["now"] == {}, "of another shape: nothing is known"


def test_the_run_of_every_machine_of_a_cluster_is_shown(command_line: Call, tmp_path: Path) -> None:
    dataset = stored(tmp_path)
    me = this_process()
    for host, owner in {"a": me.text, "b": me.text, "dead": replace(me, started=1).text, "far": "another"}.items():
        dataset.write_progress({**NOW, "since": time.time() - 75, "owner": owner}, host)
    (dataset.path / "progress-odd.json").write_text("[]")
    end_progress(dataset.path, "b")
    assert list(state_of(dataset)["machines"]) == ["a", "far"]
    lines = command_line("status", "--results-dir", str(tmp_path)).out.splitlines()
    assert lines[2].startswith("  now on a: native  Alpha  for 1m1")
    assert lines[3].startswith("  now on far: native  Alpha  for 1m1")
    assert "run 9/12, ETA" in lines[3]
    assert lines[4].split()[0] == "ok"


def test_for_people_it_is_a_few_lines(command_line: Call, tmp_path: Path) -> None:
    dataset = stored(tmp_path)
    (dataset.spool / "r9").mkdir()
    dataset.write_progress({**NOW, "since": time.time() - 75})
    done = command_line("status", "--results-dir", str(tmp_path))
    lines = done.out.splitlines()
    assert (done.status, done.err) == (0, "")
    assert lines[0] == f"question  {dataset.path}"
    assert lines[1] == "  1 invalid, 7 ok"
    assert lines[2].startswith("  now: run 9/12  native  Alpha  for 1m1")
    assert lines[2].endswith(("ETA 1h00m", "ETA 59m59s")), "it counts down"
    assert lines[6].split() == ["ok", "native", "Alpha", "106.0", "tok/s"]
    assert lines[7].split() == ["invalid", "native", "Alpha", "a", "wrong", "model"]


def test_for_scripts_it_is_one_document(command_line: Call, tmp_path: Path) -> None:
    stored(tmp_path)
    stored(tmp_path, "other")
    document = json.loads(command_line("status", "--results-dir", str(tmp_path), "--json").out)
    assert {state["experiment"] for state in document["datasets"]} == {"question", "other"}
    one = command_line("status", "--results-dir", str(tmp_path), "--experiment", "other", "--json")
    assert [state["experiment"] for state in json.loads(one.out)["datasets"]] == ["other"]


def test_a_dataset_without_runs_says_so(command_line: Call, tmp_path: Path) -> None:
    open_dataset(tmp_path, "question", "d")
    assert "no run has ended" in command_line("status", "--results-dir", str(tmp_path)).out


def test_every_folder_of_an_experiment_is_shown_the_newest_last(command_line: Call, tmp_path: Path) -> None:
    stored(tmp_path)
    newest = open_dataset(tmp_path, "question", "other")
    os.utime(newest.path / "runs", (2**31, 2**31))
    shown = json.loads(command_line("status", "--results-dir", str(tmp_path), "--json").out)["datasets"]
    assert [Path(state["dataset"]).name for state in shown] == ["question", "question@2"]


@pytest.mark.parametrize("experiment", [None, "nosuch"])
def test_without_a_dataset_it_says_how_to_start_one(tmp_path: Path, experiment: str | None) -> None:
    with pytest.raises(DatasetError) as error:
        datasets_of(tmp_path, experiment)
    assert str(tmp_path) in error.value.message
    assert (experiment or "no dataset in") in error.value.message
    assert "sparkray quick" in error.value.remedy


def test_follow_shows_the_engines_output_as_it_comes(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "question", "d")
    log = dataset.spool / "r1-1" / "out" / "engine.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    command = [sys.executable, "-m", "sparkray.sweep", "status", "--results-dir", str(tmp_path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as it:
        assert it.stdout is not None
        assert [it.stdout.readline() for _ in range(2)] == ["==> r1-1 <==\n", "first\n"]
        with log.open("a") as file:
            file.write("second\n")
        assert it.stdout.readline() == "second\n"
        it.send_signal(2)
        assert it.wait(10) == 130
