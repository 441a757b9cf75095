"""Bad input and faults, each with a clear message, the right exit status, and nothing lost."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest
from sweeping import DOUBLE, NOTHING, remains, sparkray

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray]


def run(tmp_path, *arguments, **more):
    return sparkray("baseline", "--yes", "--runs", "1", "--results-dir", str(tmp_path / "r"), *arguments, **more)


def rows(tmp_path):
    return pl.read_parquet(tmp_path / "r/local/runs/*.parquet").sort("position")


def test_docker_is_not_running(tmp_path):
    done = run(tmp_path, *DOUBLE, env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert done.code == 3
    assert "no Docker engine answers at unix:///nowhere/docker.sock" in done.err
    assert "starting Ray" not in done.out + done.err, "a refusal does not wait for Ray"
    assert "make docker" in done.err


def test_the_socket_may_not_be_used(tmp_path):
    """As nobody: a socket that belongs to root answers with a refusal, not with silence."""
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    link = tmp_path / "docker.sock"
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "curl",
            "--silent",
            "--unix-socket",
            socket,
            "http://d/_ping",
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("this engine's socket is open to everyone")
    from sparkray.errors import DockerError

    code = (
        "import os, sys\nfrom sparkray.errors import DockerError\nfrom sparkray.docker_engine import connect\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n    connect()\nexcept DockerError as error:\n    print(error)\n    sys.exit(error.exit_status)\n"
    )
    folder = Path(socket).parent
    mode = folder.stat().st_mode
    reachable = all(p.stat().st_mode & 0o001 for p in [folder, *folder.parents])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == DockerError.exit_status
    assert "permission" in done.stdout if reachable else "Docker" in done.stdout, (done.stdout, mode, link)


def test_a_flag_asked_for_that_the_host_cannot_honour(tmp_path):
    done = run(tmp_path, *DOUBLE, "--set", "docker.container_baseline.runtime=nonesuch")
    assert done.code == 3
    assert "--runtime=nonesuch" in done.err
    assert "Leave --runtime=nonesuch out" in done.err
    assert not list((tmp_path / "r/local/runs").iterdir())
    assert remains(tmp_path / "r") == NOTHING


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        pytest.param("crash", "failed", "std::bad_alloc", marks=pytest.mark.slow),
        pytest.param("hang", "timeout", "after 2 s", marks=pytest.mark.slow),
    ],
)
def test_an_engine_that_fails_is_reported_and_kept(tmp_path, fault, status, said):
    done = run(tmp_path, *DOUBLE, "--set", f"engine.fault={fault}", "--set", "experiment.timeout_s=2")
    assert done.code == 1
    assert rows(tmp_path)["status"].to_list() == [status, status]
    assert all(said in reason for reason in rows(tmp_path)["reason"])
    assert said in done.out
    assert "0 of 2 runs ok, 2 failed, 0 invalid" in done.out
    assert len(list((tmp_path / "r/local/logs").iterdir())) == 2
    assert remains(tmp_path / "r") == NOTHING


@pytest.mark.slow
def test_a_wrong_model_is_refused_and_measured_again(tmp_path):
    done = run(
        tmp_path,
        *DOUBLE,
        "--environments",
        "native",
        "--set",
        "engine.fault=wrong_model",
        "--set",
        "experiment.max_attempts=2",
    )
    assert done.code == 1
    assert rows(tmp_path)["status"].to_list() == ["invalid", "invalid"]
    assert rows(tmp_path)["attempt"].to_list() == [1, 2]
    assert "SHA-256" in rows(tmp_path)["reason"][0]


@pytest.mark.slow
def test_a_gguf_that_is_none(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 not a model")
    done = run(tmp_path, "--models", str(path))
    assert done.code == 2
    assert "is not a GGUF file" in done.err
    assert str(path) in done.err


@pytest.mark.slow
def test_a_gguf_that_is_not_there(tmp_path):
    done = run(tmp_path, "--models", str(tmp_path / "none.gguf"))
    assert done.code == 2
    assert "cannot be read: No such file" in done.err


@pytest.mark.slow
def test_a_gguf_that_is_corrupt(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(4096))
    done = run(tmp_path, "--models", str(path), "--environments", "native")
    assert done.code == 1
    assert rows(tmp_path)["status"].to_list() == ["failed"]
    assert "the engine ended with" in rows(tmp_path)["reason"][0]


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_stops_the_sweep_and_it_goes_on_later(small_disk):
    command = (
        *("baseline", "--yes", "--environments", "native", "--runs", "4"),
        *("--results-dir", str(small_disk / "r"), *DOUBLE),
    )
    ballast = small_disk / "ballast"
    (small_disk / "r").mkdir()
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - 300 * 1024))
    done = sparkray(*command)
    assert done.code == 3, done.err
    assert "Free some space" in done.err
    ballast.unlink()
    again = sparkray(*command)
    assert again.code == 0, again.err
    runs = pl.read_parquet(small_disk / "r/local/runs/*.parquet")
    assert runs.filter(pl.col("status") == "ok")["run_id"].n_unique() == 4
    assert set(runs["status"].to_list()) <= {"ok", "failed", "interrupted"}


@pytest.mark.slow
def test_an_image_that_cannot_be_put_together(tmp_path):
    """The cache is a file where a folder must be."""
    cache = tmp_path / "cache"
    cache.write_text("in the way")
    done = run(tmp_path, *DOUBLE, env={"XDG_CACHE_HOME": str(cache)})
    assert done.code in (2, 3)
    assert str(cache) in done.err


@pytest.mark.slow
def test_a_cluster_that_lacks_what_is_needed(tmp_path):
    """A Ray without our resource is refused with the command that would fix it, not waited for."""
    ray = Path(sys.executable).with_name("ray")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path may have 107 bytes
    env = {**os.environ, "RAY_memory_monitor_refresh_ms": "0"}
    start = [
        str(ray),
        "start",
        "--head",
        "--port=26379",
        "--num-cpus=0",
        "--include-dashboard=false",
        "--disable-usage-stats",
        "--object-store-memory=80000000",
        f"--temp-dir={folder}",
    ]
    started = subprocess.run(start, capture_output=True, text=True, check=False, env=env, timeout=120)
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        done = run(tmp_path, *DOUBLE, "--address", "127.0.0.1:26379", timeout_s=120)
        assert done.code == 3
        assert "ray start --address=" in done.err
        assert '{"sparkray": 1}' in done.err
    finally:
        for child in _of_folder(folder):
            child.kill()
            child.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _of_folder(folder):
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if folder in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
