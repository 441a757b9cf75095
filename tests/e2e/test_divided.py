"""A sweep of another user through sudo: its runner and its engine are root's, all else and every file the user's."""

import os
import subprocess
import tempfile
from pathlib import Path

import polars as pl
import psutil
import pytest
from support.other_user import USER, environment, interpreter
from sweeping import DOUBLE, await_true, command

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.slow]


def titles_of(pid: int) -> dict[str, int]:
    """User ids of a process's descendants, by the beginning of what they are."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            words = " ".join(process.cmdline())
            for name in (
                "raylet/raylet",
                "gcs_server",
                "ray::BenchmarkRunner",
                "ray::RuntimeEnvAgent",
                "sparkray.sweep",
            ):
                if name in words:
                    found[name] = process.uids().effective
        except psutil.Error:
            continue
    return found


def test_only_the_runner_of_a_sweep_is_root() -> None:
    python = interpreter()
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        os.chown(folder, USER, USER)
        words = ["--runs", "1", "--environments", "native", "--yes", *DOUBLE, "--results-dir", str(folder / "results")]
        line = [python, *command("baseline", *words)[1:]]
        with (folder / "log").open("wb") as log, subprocess.Popen(line, env=environment(folder), stderr=log) as sweep:
            titles: dict[str, int] = {}
            assert await_true(lambda: "ray::BenchmarkRunner" in titles or titles.update(titles_of(sweep.pid)), 120)
            titles |= titles_of(sweep.pid)
            assert sweep.wait(300) == 0, (folder / "log").read_text()
        assert titles.pop("ray::BenchmarkRunner") == 0
        assert len(titles) == 4
        assert set(titles.values()) == {USER}
        assert pl.read_parquet(folder / "results/local/runs/*.parquet")["status"].to_list() == ["ok"]
        owners = {path: path.lstat().st_uid for path in (folder / "results").rglob("*")}
        assert {path for path, user in owners.items() if user != USER} == set()
        assert len(owners) > 10
