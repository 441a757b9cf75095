"""What observes keeps off the CPUs that are the engine's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import DockerOptions
from sparkray.errors import ConfigError
from sparkray.machine.cpu_isolation import (
    client_overlaps,
    housekeeping_of,
    must_have_client_cpus,
    pin_processes,
    usable_cpus,
)


def fast() -> tuple[int, ...]:
    return (2, 3)


@pytest.mark.parametrize(
    ("engine", "left"),
    [("", {0, 1, 2, 3}), ("1-3", {0}), ("performance", {0, 1}), ("0-3", {0, 1, 2, 3}), ("0,2", {1, 3})],
)
def test_what_is_left_for_observing(engine: str, left: set[int]) -> None:
    assert housekeeping_of(engine, range(4), fast) == left


@pytest.mark.parametrize(("engine", "said"), [("9", "names CPU 9"), ("fast", "is no CPU list")])
def test_what_is_no_cpu_of_this_machine_is_refused(engine: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        housekeeping_of(engine, range(4), fast)


def test_a_process_and_its_threads_are_kept_to_cpus() -> None:
    threads = "import threading, sys; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"
    child = subprocess.Popen([sys.executable, "-c", threads], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        first = min(os.sched_getaffinity(0))
        pin_processes(frozenset({first}), [child.pid, 2**22 + 1])
        tasks = [int(task.name) for task in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(tasks) > 1
        assert [os.sched_getaffinity(task) for task in tasks] == [{first}] * len(tasks)
    finally:
        child.kill()
        child.communicate()


def test_cpus_of_the_load_generator_must_exist() -> None:
    must_have_client_cpus("1,3", range(4))
    must_have_client_cpus("", ())
    with pytest.raises(ConfigError, match=r"client_cpus '3-5' names CPU 4-5, .*CPUs that can be used: 0-3"):
        must_have_client_cpus("3-5", range(4))


def test_usable_cpus_are_those_of_the_machine_although_this_process_is_pinned() -> None:
    code = "import os; from sparkray.machine.cpu_isolation import usable_cpus as u; a = u()"
    code += "; os.sched_setaffinity(0, [min(a)]); assert u() == a, u(); assert os.sched_getaffinity(0) == {min(a)}"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert usable_cpus() >= os.sched_getaffinity(0)


def test_an_engine_on_the_load_generators_cpus_is_a_warning() -> None:
    (only,) = client_overlaps("1-2", {"native": None, "container_baseline": "3", "container_optimized": "0-1"})
    assert only.startswith("container_optimized pins the engine to CPU 1 of the load generator (--cpuset-cpus=0-1")
    assert client_overlaps("", {"container_optimized": "0-1"}) == []


@pytest.mark.parametrize(
    ("cpus", "why"), [("a", "not a list"), ("3-1", "write 1-3"), ("1,", "not a list"), ("-1", "not a")]
)
def test_a_cpu_list_that_is_none_is_refused_with_the_site(cpus: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"client_cpus: .*{why}"):
        Catalog(data_root()).site("cpu", overrides={"client_cpus": cpus})
    with pytest.raises(ValueError, match=why):
        DockerOptions(cpuset_cpus=cpus)
