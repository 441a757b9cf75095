"""Which processes below a raylet are Ray's own, and which are jobs of whoever else uses the cluster."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import pytest

from sparkray.machine.raylet import at_work, ray_processes


@dataclass
class Process:
    pid: int
    title: str
    started: Sequence["Process"] = ()
    gone: bool = False

    def cmdline(self) -> list[str]:
        if self.gone:
            raise psutil.NoSuchProcess(self.pid)
        return self.title.split()

    def children(self, recursive: bool = False) -> list["Process"]:
        below = [child for one in self.started for child in one.children(recursive=True)] if recursive else []
        return [*self.started, *below]


def test_a_job_and_all_that_it_started_is_no_cost_of_ours() -> None:
    deep = Process(12, "python train.py", [Process(13, "nvcc")])
    workers = [
        Process(10, "ray::Trainer.train", [Process(11, "sh -c python train.py", [deep])]),
        Process(20, "ray::work()"),
        Process(30, "ray::IDLE"),
        Process(31, "ray::IDLE_SpillWorker"),
        Process(40, "/usr/bin/python -u /site-packages/ray/dashboard/agent.py --session-name=s"),
        Process(50, "", gone=True),
    ]
    assert at_work(workers) == {10, 11, 12, 13, 20}


def test_of_a_raylet_that_has_died_no_processes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zombie until the driver notices: a run that begins meanwhile must not break in an unforeseen way."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setenv("RAY_RAYLET_PID", str(pid))
    try:
        assert ray_processes() == []
    finally:
        os.waitpid(pid, 0)
