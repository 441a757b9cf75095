"""Separates Ray's own processes on this machine from those that run a job. Call from inside an actor."""

import os
from collections.abc import Iterable
from contextlib import suppress

import psutil


def ray_processes() -> list[int]:
    """Ray's own processes on this machine: those that name its session, and its raylet's other children.

    The actor itself and other jobs of the cluster are excluded: `exclusive` finds those. Another Ray on the machine has
    its own session. Of a raylet that has died, maybe in this moment, none are known.
    """
    me = psutil.Process()
    raylet = _raylet(me)
    if raylet is None:
        return []
    try:
        words, children, workers = raylet.cmdline(), raylet.children(recursive=True), raylet.children()
    except psutil.Error:
        return []
    session = next((word.partition("=")[2] for word in words if word.startswith("--session-name=")), "")
    pids = {raylet.pid, *(child.pid for child in children)}
    for process in psutil.process_iter(["cmdline"]):
        if session and any(session in word for word in process.info["cmdline"] or ()):
            pids.add(process.pid)
    return sorted(pids - {me.pid, *(child.pid for child in me.children(recursive=True)), *at_work(workers)})


def _raylet(worker: psutil.Process) -> psutil.Process | None:
    """The one that Ray names to its worker, which has another parent where it was started as root."""
    named = os.environ.get("RAY_RAYLET_PID", "")
    with suppress(psutil.Error):
        return psutil.Process(int(named)) if named.isdecimal() else worker.parent()
    return None


def at_work(workers: Iterable[psutil.Process]) -> set[int]:
    """The raylet's workers with a task or an actor, and their children.

    Ray sets a worker's title to its work, `ray::Actor.method`; an unused one is `ray::IDLE`. Agents keep their own
    command line.
    """
    pids: set[int] = set()
    for worker in workers:
        with suppress(psutil.Error):
            title = " ".join(worker.cmdline())
            if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                pids |= {worker.pid, *(child.pid for child in worker.children(recursive=True))}
    return pids
