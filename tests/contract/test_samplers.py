"""What every sampler keeps, whatever it samples; and the real things behind them: a container, NVML."""

import contextlib
import gc
import io
import os
import shutil
import subprocess
import tarfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pynvml
import pytest
from support.fake_nvml import FakeNvml, gb10, h100

from sparkray.errors import UnknownNameError
from sparkray.telemetry import (
    Sampler,
    Target,
    cgroup,
    gpu,
    gpu_energy,
    gpu_errors,
    gpu_process,
    gpu_slow,
    gpu_util,
    load_sampler,
    sampler_names,
)
from sparkray.telemetry.recorder import Recorder, check_row, recover

NAMES = sampler_names()
GPU_MODULES = (gpu, gpu_util, gpu_slow, gpu_energy, gpu_process, gpu_errors)


def faked() -> list[Sampler]:
    """The GPU samplers once more, where GPUs are."""
    devices = [gb10(processes={os.getpid(): 2**30}), h100(gpu_pct=3, processes={os.getpid(): 2**31})]
    return [module.Sampler(nvml=FakeNvml(devices)) for module in GPU_MODULES]


@pytest.fixture(params=[*NAMES, *(f"faked {module.__name__.rpartition('.')[2]}" for module in GPU_MODULES)])
def sampler(request: pytest.FixtureRequest) -> Sampler:
    kind, _, name = request.param.rpartition(" ")
    return next(found for found in faked() if found.name == name) if kind else load_sampler(name)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_samplers_are_found_by_their_files() -> None:
    host = {"host", "host_slow", "cores", "spark_hwmon", "process", "pss", "cgroup"}
    assert host | {module.__name__.rpartition(".")[2] for module in GPU_MODULES} <= set(NAMES)
    assert not {"nvml", "recorder"} & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_is_named_as_its_file(name: str) -> None:
    assert load_sampler(name).name == name


@pytest.mark.parametrize("name", ["recorder", "nvml", "_proc", "hosts"])
def test_an_unknown_sampler_is_said(name: str) -> None:
    with pytest.raises(UnknownNameError, match="sampler"):
        load_sampler(name)


def test_rows_fit_the_stream(sampler: Sampler) -> None:
    with sampler:
        sampler.attach(Target(os.getpid()))
        rows = [*sampler.sample(), *sampler.sample()]
    for row in rows:
        check_row(row)
        assert any(value is not None for name, value in row.items() if name != "device"), "a row that says nothing"
    if not rows and sampler.name not in ("cgroup", "gpu_process"):  # this process is no container and uses no GPU
        assert sampler.unavailable, "a sampler that yields nothing says why"


def test_a_capture_is_parsed_later(sampler: Sampler) -> None:
    with sampler:
        sampler.attach(Target(os.getpid()))
        captured = [sampler.capture() for _ in range(3)]
        rows_of_each = [sampler.rows(capture) for capture in captured if capture is not None]
    for rows in rows_of_each:
        for row in rows:
            check_row(row)
    if sampler.unavailable is None and sampler.name not in ("cgroup", "gpu_process"):
        assert any(rows_of_each), "no capture gave a row"


def test_a_period_is_positive_and_pss_is_sampled_rarely(sampler: Sampler) -> None:
    assert sampler.period_s >= 0.1
    assert sampler.name != "pss" or sampler.period_s >= 10


def test_nothing_is_known_of_a_target_before_there_is_one(sampler: Sampler) -> None:
    with sampler:
        rows = sampler.sample()
    assert not [name for row in rows for name in row if name.startswith(("process_", "cgroup_", "gpu_process"))]


@pytest.mark.parametrize("target", [Target(None), Target(2**22 + 1), Target(2**22 + 1, in_container=True)])
def test_a_target_that_is_not_there_is_no_fault_and_no_zero(sampler: Sampler, target: Target) -> None:
    with sampler:
        sampler.attach(target)
        rows = sampler.sample()
    assert not [name for row in rows for name in row if name.startswith(("process_", "cgroup_", "gpu_process"))]


def test_nothing_stays_open_and_it_can_be_entered_again(sampler: Sampler) -> None:
    with sampler:
        sampler.attach(Target(os.getpid(), in_container=True))
        sampler.sample()
    before = open_files()
    for _ in range(3):
        with sampler:
            sampler.attach(Target(os.getpid(), in_container=True))
            sampler.attach(Target(os.getppid()))
            sampler.sample()
    assert open_files() == before


def test_all_of_them_together(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    with Recorder(path, [*map(load_sampler, NAMES)]) as recorder:
        recorder.attach(Target(os.getpid()))
        time.sleep(0.5)
    assert recorder.problems == []
    rows = recover(path)
    assert {"host", "process", "pss", "cores", "host_slow"} <= {row["sampler"] for row in rows}
    assert all(row["mem_free_gib"] for row in rows if row["sampler"] == "host")
    assert recorder.cpu_s > 0


PROGRAMS = ("sh", "head", "yes", "sleep")
LOAD = "head -c 50331648 /dev/zero > /dev/shm/file; x=$(yes | head -c 20971520); echo ready; sleep 600"


def image_tar() -> bytes:
    """A root filesystem of a shell, three programs and their libraries."""
    paths = [Path(found).resolve() for program in PROGRAMS if (found := shutil.which(program))]
    listed = subprocess.run(["ldd", *map(str, paths)], capture_output=True, text=True, check=True).stdout
    libraries = {word for word in listed.split() if word.startswith("/") and not word.endswith(":")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for program, path in zip(PROGRAMS, paths, strict=True):
            tar.add(path, f"bin/{program}")
        for library in libraries:
            tar.add(Path(library).resolve(), library.lstrip("/"))
    return buffer.getvalue()


def engine() -> docker.DockerClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a client that finds no engine leaves its socket to gc
        try:
            return docker.from_env()
        except docker.errors.DockerException as error:
            reason = str(error)
        gc.collect()
    pytest.skip(f"no Docker engine answers: {reason}")


@contextlib.contextmanager
def container() -> Iterator[Any]:
    """A container that holds 48 MiB of files and 20 MiB of its own, and may use a fifth of a CPU."""
    client = engine()
    tag = f"sparkray-test-cgroup-{os.getpid()}"
    client.api.import_image_from_data(image_tar(), repository=tag)
    running = client.containers.run(tag, ["/bin/sh", "-c", LOAD], detach=True, cpu_quota=20_000, network_mode="none")
    try:
        yield running
    finally:
        running.remove(force=True)
        client.images.remove(tag)
        client.close()


def pid_when_ready(running: Any) -> int:
    end = time.monotonic() + 30
    while b"ready" not in running.logs():
        running.reload()
        assert running.status != "exited", running.logs()
        assert time.monotonic() < end
        time.sleep(0.1)
    running.reload()
    return int(running.attrs["State"]["Pid"])


@pytest.mark.docker
def test_the_cgroup_of_a_real_container() -> None:
    with container() as running, cgroup.Sampler() as sampler:
        sampler.attach(Target(pid_when_ready(running), in_container=True))
        (row,) = sampler.sample()
        running.kill()
        running.wait()
        assert sampler.sample() == []
    assert 48 <= float(row["cgroup_file_gib"] or 0) * 1024 < 64
    assert 20 <= float(row["cgroup_anon_gib"] or 0) * 1024 < 100
    assert float(row["cgroup_memory_gib"] or 0) * 1024 >= 68
    assert float(row["cgroup_throttled_s"] or 0) > 0
    assert row["cgroup_oom_kills"] == 0


def first_gpu() -> Any:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no GPU here: {error}")
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def test_real_nvml_answers_as_the_double_does(tmp_path: Path) -> None:
    handle = first_gpu()
    with Recorder(tmp_path / "s", [module.Sampler() for module in GPU_MODULES]) as recorder:
        time.sleep(1.5)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    pynvml.nvmlShutdown()
    rows = [row for row in recover(tmp_path / "s") if row["device"] == uuid]
    assert recorder.problems == []
    assert recorder.unavailable == {}
    state = [row for row in rows if row["sampler"] == "gpu"]
    assert len(state) >= 5
    shares = [row["gpu_util_pct"] for row in rows if row["sampler"] == "gpu_util"]
    assert shares
    assert all(share is None or 0 <= float(share) <= 100 for share in shares)
    assert [row for row in rows if row["sampler"] == "gpu_slow"]
    assert all(row["gpu_temp_c"] is None or 5 < float(row["gpu_temp_c"]) < 110 for row in rows)
    assert all(row["gpu_power_w"] is None or 1 < float(row["gpu_power_w"]) < 2000 for row in state)
    counter = [float(row["gpu_energy_j"]) for row in rows if row["gpu_energy_j"] is not None]
    assert counter == sorted(counter)
