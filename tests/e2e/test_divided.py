"""A sweep of another user through sudo: its runner and its engine are root's, all else and every file the user's."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import polars as pl
import psutil
import pytest
from support.other_user import USER, environment, interpreter
from sweeping import DOUBLE, Patience, command

from sparkray.catalog.weights import cache_folder

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.slow]
LIMIT_S = 600.0
"""The longest that the sweep may take to start its runner, and to end after that, apart from its wait for the machine."""


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
        if (models := cache_folder() / "models").is_dir():  # the user may not read them there
            shutil.copytree(models, folder / "sparkray" / "models")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
        words = ["--runs", "1", "--environments", "native", "--yes", *DOUBLE, "--results-dir", str(folder / "results")]
        line = [python, *command("baseline", *words)[1:]]
        with (folder / "log").open("wb") as log, subprocess.Popen(line, env=environment(folder), stderr=log) as sweep:
            titles: dict[str, int] = {}
            patience = Patience(sweep.pid)

            def has_runner() -> bool:
                if sweep.poll() is None:
                    titles.update(titles_of(sweep.pid))
                return "ray::BenchmarkRunner" in titles or sweep.returncode is not None

            patience.until(has_runner, LIMIT_S)
            assert patience.until(lambda: sweep.poll() is not None, LIMIT_S), (folder / "log").read_text()
            assert sweep.returncode == 0, (folder / "log").read_text()
        assert titles.pop("ray::BenchmarkRunner") == 0
        assert len(titles) == 4
        assert set(titles.values()) == {USER}
        assert pl.read_parquet(folder / "results/local/runs/*.parquet")["status"].to_list() == ["ok"]
        owners = {path: path.lstat().st_uid for path in (folder / "results").rglob("*")}
        assert {path for path, user in owners.items() if user != USER} == set()
        assert len(owners) > 10
