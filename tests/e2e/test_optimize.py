"""`optimize` as a user starts it: real containers, a real chroot, a real Ray, and a double for the engine.

`SPARKRAY_KILLS` asks for more kills of the search than the few that the suite has time for.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sweeping import DOUBLE, NOTHING, await_true, command, engine_pid, remains, sparkray

from sparkray.optimize.search import default_storage, open_storage

KILLS = int(os.environ.get("SPARKRAY_KILLS", "2"))
SPACE = """\
name: tiny
description: One that changes nothing, one that kills, one that Docker refuses, two that might do something.
factors:
  - {name: nofile, levels: {few: {ulimit_nofile: 4096}}, why: a limit}
  - {name: cpu_shares, levels: {"512": {cpu_shares: 512}}, why: a weight}
  - {name: log_driver, levels: {syslog: {log_driver: syslog}}, why: refused where no daemon listens}
  - {name: memory, levels: {tight: {memory: 6m, memory_swap: 6m}}, why: kills}
  - {name: oom, levels: {zero: {oom_score_adj: 0}}, why: what Docker does anyway}
"""
SHARED = ("pid", "network", "uts")
"""Namespaces that the baseline of these tests shares with the host, so that few layers are left to measure."""

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray]


def arguments(folder: Path, *, runs: int, trials: int) -> list[str]:
    space = folder / "space.yaml"
    space.write_text(SPACE)
    flags = [word for name in SHARED for word in ("--set", f"docker.container_baseline.{name}=host")]
    flags += ["--set", "docker.container_baseline.security_opt=[seccomp=unconfined]", "--allow-insecure"]
    asked = ["--runs", str(runs), "--trials", str(trials), "--confirm-runs", "2", "--yes", "--no-dashboard"]
    asked += ["--set", "experiment.timeout_s=15"]
    site = ["--site", "cpu", "--set", f"site.space={space}", "--results-dir", str(folder / "results")]
    return [*site, *asked, *DOUBLE, *flags]


def rows_of(folder: Path, stage: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "results" / f"local-{stage}" / "runs" / "*.parquet")


def evaluations_of(folder: Path) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Results of all trials, and how many trials are in each state."""
    storage = open_storage(default_storage(folder / "results" / "local-search"))
    [study] = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    told = [one for trial in trials for one in trial.user_attrs.get("evaluations", [])]
    return told, Counter(trial.state.name for trial in trials)


@pytest.mark.slow
def test_an_optimisation_ends_with_an_answer_and_the_same_command_again_measures_nothing(tmp_path: Path) -> None:
    words = arguments(tmp_path, runs=1, trials=2)
    done = sparkray("optimize", *words, "--json")
    assert done.code == 0, done.err
    document = done.document()
    stored = json.loads((tmp_path / "results" / "local-optimize.json").read_text())
    assert document == {**stored, "calibration": document["calibration"]}
    assert document["complete"] is True
    assert document["simulated"] is True
    levels = {f"{one['factor']}={one['level']}": one for one in document["levels"]}
    assert levels["memory=tight"]["state"] == "failed"
    assert levels["log_driver=syslog"]["state"] == "excluded"
    assert "log_driver=syslog" in levels["log_driver=syslog"]["reason"]
    assert levels["oom=zero"]["state"] == "excluded"
    assert levels["cpu_shares=512"]["effect"]["n"] == 1
    assert {name for one in document["search"]["tried"] for name in one["choices"]} <= {"nofile", "cpu_shares"}
    assert document["confirmation"]["winner"] is None or document["confirmation"]["candidates"]
    steps = document["attribution"]["results"][0]["estimates"]["steps"]
    assert {"chroot", "overlay", "cgroup", "masked-paths"} <= {one["step"]["layer"] for one in steps}
    assert remains(tmp_path / "results") == NOTHING
    made = {stage: rows_of(tmp_path, stage).height for stage in ("screen", "search", "confirm", "attribute")}
    again = sparkray("optimize", *words, "--json")
    assert again.code == 0
    assert {**again.document(), "made_at": ""} == {**document, "made_at": ""}
    assert {stage: rows_of(tmp_path, stage).height for stage in made} == made
    checked = sparkray(
        *("validate", "--site", "cpu", "--optimized", document["output"], "--runs", "1", "--yes", "--no-dashboard"),
        *(
            "--results-dir",
            str(tmp_path / "results"),
            *DOUBLE,
            "--json",
            "--set",
            "experiment.fold=false",
            "--allow-insecure",
        ),
    )
    assert checked.document()["runs"]["ok"] == 3, checked.err


def kill_in_search(folder: Path, words: list[str], rng: random.Random) -> str:
    """Start it, wait until the search is at a run, then a random while, kill -9."""
    progress = folder / "results" / "local-search" / "progress.json"
    with (folder / "log").open("ab") as log:
        driver = subprocess.Popen(command("optimize", *words), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        began = time.time()

        def searching() -> bool:
            return progress.exists() and progress.stat().st_mtime > began and engine_pid() is not None

        try:
            assert await_true(lambda: searching() or driver.poll() is not None, 240), (folder / "log").read_text()
            time.sleep(rng.uniform(0.0, 4.0))
            if driver.poll() is not None:
                return "too late"
            driver.send_signal(signal.SIGKILL)
            return "killed"
        finally:
            driver.kill()
            driver.wait(30)


@pytest.mark.slow
def test_a_search_that_is_killed_loses_no_trial_and_makes_none_twice(tmp_path: Path) -> None:
    rng = random.Random(int(os.environ.get("SPARKRAY_SEED", "7")))
    words = arguments(tmp_path, runs=1, trials=3)
    told = [kill_in_search(tmp_path, words, rng) for _ in range(KILLS)]
    assert "killed" in told, told
    done = sparkray("optimize", *words, "--json", timeout_s=400)
    assert done.code == 0, done.err
    rows = rows_of(tmp_path, "search")
    ok = rows.filter(pl.col("status") == "ok")
    assert ok["run_id"].n_unique() == ok.height
    assert set(rows["status"].to_list()) <= {"ok", "interrupted"}
    evaluations, states = evaluations_of(tmp_path)
    assert states["RUNNING"] == states["WAITING"] == 0
    mine, bases = [one["run_id"] for one in evaluations], {one["baseline_id"] for one in evaluations}
    assert Counter(mine).most_common(1)[0][1] == 1
    assert len(bases) < len(mine), "a block has one run of the baseline"
    assert {*mine, *bases} == set(ok["run_id"].to_list()), "no run was made for nothing"
    tried = done.document()["search"]["tried"]
    assert len({one["environment"] for one in tried}) == len(tried)
    assert remains(tmp_path / "results") == NOTHING
    print(f"{KILLS} kills: {told}; trials {dict(states)}; runs {rows['status'].value_counts().to_dicts()}")


@pytest.mark.slow
def test_two_commands_take_turns_and_share_the_search(tmp_path: Path) -> None:
    words = arguments(tmp_path, runs=1, trials=3)
    logs = [tmp_path / f"log{n}" for n in range(2)]
    commands = []
    for log in logs:
        with log.open("wb") as file:
            commands.append(
                subprocess.Popen(command("optimize", *words), stdout=file, stderr=file, stdin=subprocess.DEVNULL)
            )
    try:
        for one, log in zip(commands, logs, strict=True):
            assert one.wait(500) == 0, log.read_text()
    finally:
        for one in commands:
            one.kill()
    for stage in ("screen", "search", "confirm", "attribute"):
        ok = rows_of(tmp_path, stage).filter(pl.col("status") == "ok")
        assert ok["run_id"].n_unique() == ok.height, f"{stage}: a run was made twice"
    evaluations, states = evaluations_of(tmp_path)
    assert states["RUNNING"] == states["WAITING"] == 0
    assert max(Counter((one["run_id"]) for one in evaluations).values()) == 1
    assert not (tmp_path / "results" / "local-confirm@2").exists(), "both came to the same candidates"
    assert remains(tmp_path / "results") == NOTHING
