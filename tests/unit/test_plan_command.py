"""`plan` as a user and a script see it. `golden/plan-local.json` is the identity of its runs, on every machine, for ever.

A change of run ids makes every dataset out there start over: make it on purpose, say so in the changelog, and write the
file anew: `python tests/unit/test_plan_command.py`.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "plan-local.json"
FIXED = (
    *("--site", "cpu", "--experiment", "local", "--runs", "3", "--requests", "8", "--seed", "42"),
    *("--environments", "native,container_baseline,container_optimized"),
    *("--set", "docker.container_baseline.shm_size=1g", "--set", "experiment.fold=false", "--json"),
)
FOLDED = (*FIXED[:-3], "--json")
KEYS = {
    "run_id",
    "block",
    "position",
    "host",
    "model",
    "environment",
    "replicate",
    "engine_command",
    "docker_command",
    "estimated_s",
}
Call = Callable[..., Any]


def runs_of(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    assert set(document.get("hours", {"fixed", "adaptive"})) == {"fixed", "adaptive"}
    return document["runs"]


def identity(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: run[key] for key in ("run_id", "block", "position", "environment")} for run in runs]


def test_the_plan_is_the_golden_one(command_line: Call) -> None:
    done = command_line("plan", *FIXED)
    assert (done.status, done.err) == (0, "")
    assert identity(runs_of(done.out)) == identity(runs_of(GOLDEN.read_text()))


def planned_elsewhere(folder: Path, **environment: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "sparkray.sweep", "plan", *FIXED]
    changed = os.environ | environment
    done = subprocess.run(command, cwd=folder, env=changed, capture_output=True, text=True, check=True, timeout=60)
    return identity(runs_of(done.stdout))


def test_another_process_with_other_hashes_plans_the_same(tmp_path: Path) -> None:
    again = planned_elsewhere(tmp_path, PYTHONHASHSEED="12345", TZ="Asia/Tokyo", LC_ALL="C")
    assert again == identity(runs_of(GOLDEN.read_text()))
    assert list(tmp_path.iterdir()) == []


def test_every_run_has_every_key_and_a_line_that_makes_it(command_line: Call, tmp_path: Path) -> None:
    runs = runs_of(command_line("plan", *FIXED, "--results-dir", str(tmp_path / "results")).out)
    assert all(set(run) >= KEYS for run in runs)
    for run in runs:
        assert run["estimated_s"] > 0
        assert (run["docker_command"] is None) == (run["environment"] == "native")
        if run["docker_command"]:
            words = shlex.split(run["docker_command"])
            assert words[-len(run["engine_command"]) :] == run["engine_command"]
            assert f"--name=sparkray-{run['run_id']}" in words
            assert ("--shm-size=1g" in words) == (run["environment"] == "container_baseline")
    assert not (tmp_path / "results").exists()


def test_for_people_it_shows_every_run_what_cannot_act_and_the_sum(command_line: Call) -> None:
    done = command_line("plan", *FIXED[:-1])
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:18:2]] == [str(number) for number in range(1, 10)]
    assert sum(line.strip().startswith("docker run --rm") for line in lines) == 6
    assert sum("--shm-size cannot act under --ipc=host" in line for line in lines) == 2
    assert lines[-2].startswith("container_optimized is effectively container_baseline: ")
    assert lines[-2].endswith("Measured all the same.")
    assert lines[-1].startswith("9 runs, about ")
    assert lines[-1].endswith("nothing was started.")


def test_an_environment_that_is_another_one_by_its_flags_has_no_runs_and_the_others_keep_theirs(
    command_line: Call,
) -> None:
    done = command_line("plan", *FOLDED)
    runs = runs_of(done.out)
    golden = {run["run_id"]: run for run in runs_of(GOLDEN.read_text())}
    assert {run["environment"] for run in runs} == {"native", "container_baseline"}
    assert [run["run_id"] for run in golden.values() if run["environment"] == "container_optimized"] == [
        run_id for run_id in golden if run_id not in {run["run_id"] for run in runs}
    ]
    assert all(golden[run["run_id"]]["block"] == run["block"] for run in runs)
    assert [run["position"] for run in runs] == list(range(6))
    [folded] = json.loads(done.out)["folded"]
    assert (folded["environment"], folded["like"], folded["measured"]) == (
        "container_optimized",
        "container_baseline",
        False,
    )
    assert "--shm-size cannot act under --ipc=host" in folded["reasons"][0]


def test_what_was_folded_is_said_with_the_reason_and_the_way_out(command_line: Call) -> None:
    lines = command_line("plan", *FOLDED[:-1]).out.splitlines()
    [said] = [line for line in lines if "effectively" in line]
    assert said.startswith(
        "container_optimized is effectively container_baseline: --shm-size cannot act under --ipc=host"
    )
    assert said.endswith("Measured once; --set experiment.fold=false measures both.")
    assert lines[-1].startswith("6 runs, about ")


def test_treatments_that_differ_are_measured_apart_and_nothing_is_said(command_line: Call) -> None:
    words = ("--site", "cpu", "--experiment", "local-validate", "--runs", "1")
    done = command_line("plan", *words, "--set", "docker.container_optimized.network=host", "--json")
    assert {run["environment"] for run in runs_of(done.out)} == {"native", "container_baseline", "container_optimized"}
    assert json.loads(done.out)["folded"] == []


@pytest.mark.parametrize("site", ["dgx-spark", "discrete-gpu"])
def test_a_plan_for_another_machine_can_be_made_anywhere(command_line: Call, site: str) -> None:
    runs = runs_of(command_line("plan", "--site", site, "--models", "Qwen2-1.5B", "--runs", "2", "--json").out)
    assert len(runs) == 4
    assert "--gpus=all" in next(run["docker_command"] for run in runs if run["docker_command"])


def test_without_more_than_a_site_the_sites_own_question_is_planned(command_line: Call) -> None:
    runs = runs_of(command_line("plan", "--site", "cpu", "--json").out)
    assert len(runs) == 20
    assert {run["environment"] for run in runs} == {"native", "container_baseline"}


def test_an_environment_that_is_named_twice_is_planned_once(command_line: Call) -> None:
    for words in (("--environments", "native,native"), ("--set", "experiment.environments=[native, native]")):
        runs = runs_of(command_line("plan", "--site", "cpu", "--runs", "2", *words, "--json").out)
        assert [run["block"] for run in runs] == [0, 1]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"runs": planned_elsewhere(Path.cwd())}, indent=1) + "\n")
