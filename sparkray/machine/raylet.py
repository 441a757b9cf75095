"""Which processes of this machine are Ray's own, and which do a job for somebody. Asked from inside an actor."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import psutil


def ray_processes() -> list[int]:
    """Ray's own processes on this machine, for an actor: those that name its session, and its raylet's other children.

    The actor itself is not one of them, and neither is any other job of the cluster: what that costs is no cost of ours,
    and to be found by whoever asks who else was busy. Another Ray on the machine has a session of its own.
    """
    me = psutil.Process()
    raylet = me.parent()
    if raylet is None:
        return []
    session = next((word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--session-name=")), "")
    found = {raylet.pid, *(child.pid for child in raylet.children(recursive=True))}
    for process in psutil.process_iter(["cmdline"]):
        if session and any(session in word for word in process.info["cmdline"] or ()):
            found.add(process.pid)
    return sorted(found - {me.pid, *(child.pid for child in me.children(recursive=True)), *at_work(raylet.children())})


class _Process(Protocol):
    """The part of `psutil.Process` that is asked."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def cmdline(self) -> list[str]:
        """Its words; of a worker the title that Ray gives it."""
        ...

    def children(self, recursive: bool = False) -> Sequence["_Process"]:  # noqa: FBT001, FBT002 - as psutil has it
        """What it started."""
        ...


def at_work(workers: Iterable[_Process]) -> set[int]:
    """The raylet's workers that have a task or an actor, and all that these started.

    Ray writes into a worker's title what it does, `ray::Actor.method`; one that has nothing to do is `ray::IDLE`, and one
    that is no worker, an agent, keeps its own words.
    """
    found: set[int] = set()
    for worker in workers:
        with suppress(psutil.Error):
            title = " ".join(worker.cmdline())
            if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                found |= {worker.pid, *(child.pid for child in worker.children(recursive=True))}
    return found
