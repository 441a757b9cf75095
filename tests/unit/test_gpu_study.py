"""`scripts/gpu-study` with stand-ins for Docker and sparkray: parts, pieces, and what stops it."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu-study"


def call(*words, path="", **variables):
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **variables}
    return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, env=environment, check=False)


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def machine(tmp_path, docker="exit 0", sparkray='echo "$@" >>"$CALLS"; mkdir -p "$7/q"; echo x >"$7/q/row"'):
    program(tmp_path / "path" / "docker", docker)
    program(tmp_path / "work" / "bin" / "sparkray", sparkray)
    (tmp_path / "work" / "occasion").write_text("one\n")
    return {"path": str(tmp_path / "path"), "CALLS": str(tmp_path / "calls")}


def piece(tmp_path, *experiments, seconds=300, **more):
    places = (tmp_path / "work", tmp_path / "results", tmp_path / "out")
    return call("run", *places, "--seconds", seconds, *experiments, **more)


def test_a_piece_runs_each_experiment_in_the_time_that_is_left_and_packs_small_files(tmp_path):
    more = machine(tmp_path)
    done = piece(tmp_path, "a", "b", **more)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[:5] for line in calls] == [
        ["baseline", "--site", "discrete-gpu-vllm", "--experiment", name] for name in "ab"
    ]
    left = [int(line.split("--seconds ")[1].split()[0]) for line in calls]
    assert all(270 <= seconds <= 275 for seconds in left)
    assert call("unpack", tmp_path / "out", tmp_path / "again").returncode == 0
    assert (tmp_path / "again" / "occasion-1" / "q" / "row").read_text() == "x\n"


def test_settings_reach_each_experiment(tmp_path):
    more = machine(tmp_path)
    done = piece(tmp_path, "--set", "experiment.seed=3", "--set", "experiment.runs=8", "a", "b", **more)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[4] for line in calls] == ["a", "b"]
    assert all(line.endswith("--set experiment.seed=3 --set experiment.runs=8") for line in calls)


def test_another_machine_is_another_occasion(tmp_path):
    more = machine(tmp_path)
    for name in ("one", "one", "two"):
        (tmp_path / "work" / "occasion").write_text(f"{name}\n")
        assert piece(tmp_path, "a", **more).returncode == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["occasion-1", "occasion-2"]


def test_without_docker_nothing_is_measured(tmp_path):
    more = machine(tmp_path, docker="exit 1")
    done = piece(tmp_path, "a", **more)
    assert done.returncode == 3
    assert "docker info fails" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_remaining_runs_end_with_1_and_a_machine_that_cannot_ends_the_piece(tmp_path):
    more = machine(tmp_path, sparkray='echo "$@" >>"$CALLS"; exit 1')
    assert piece(tmp_path, "a", "b", **more).returncode == 1
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    more = machine(tmp_path, sparkray='echo "$@" >>"$CALLS"; exit 3')
    assert piece(tmp_path, "a", "b", **more).returncode == 3
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
    assert piece(tmp_path, "a", seconds=20, **more).returncode == 1
    assert len((tmp_path / "calls").read_text().splitlines()) == 3, "no time is left"


def test_parts_are_checked_before_they_are_unpacked(tmp_path):
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / "a.deb").write_bytes(b"deb")
    parts = tmp_path / "work" / "parts"
    assert call("pack", parts, tmp_path / "debs").returncode == 0
    assert sorted(path.name for path in parts.iterdir()) == ["study.sha256", "study.tar.00"]
    (tmp_path / "sparkray").mkdir()
    refused = call("pack", parts, tmp_path / "sparkray")
    assert refused.returncode == 3
    assert "no wheel of hatchling" in refused.stderr
    (parts / "study.tar.00").write_bytes(b"damaged")
    done = call("prepare", tmp_path / "work")
    assert done.returncode == 3
    assert "missing or damaged" in done.stderr or "needs root" in done.stderr
    assert call("run").returncode == 2
