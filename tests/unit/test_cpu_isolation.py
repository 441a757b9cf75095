"""What observes keeps off the CPUs that are the engine's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparkray.errors import ConfigError
from sparkray.machine.cpu_isolation import housekeeping_of, pin_processes


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
