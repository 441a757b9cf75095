"""Faults that strike a sweep: inside it, where it must go on, or its driver, which ends it."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil

from sparkray.runtimes.linux.owner import LABEL, Owner
from sparkray.runtimes.linux.process import marked, name_of, owner_of

DOCKER_S = 20
# How long a process stays stopped, s.
_STOPPED_S = 1.0
_PROBE = "sparkray-probe-"
Fault = Callable[[int, Path], bool]


def is_below(pid: int, driver: int) -> bool:
    """Whether a process is a driver's or the driver: what others started beside this is never touched."""
    try:
        return driver in (pid, *(process.pid for process in psutil.Process(pid).parents()))
    except psutil.Error:
        return False


def engine_of(driver: int) -> int | None:
    """The process of a run's engine, in a container or not; not of a container that only tries flags."""
    owners = {pid: owner_of(pid) for pid in marked() if not (name_of(pid) or "").startswith(_PROBE)}
    return next((pid for pid, owner in owners.items() if owner is not None and is_below(owner.pid, driver)), None)


def descendant(driver: int, title: str) -> int | None:
    """A process below a driver by its title."""
    with suppress(psutil.Error):
        for child in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.Error):
                if title in " ".join(child.cmdline()):
                    return child.pid
    return None


def send(pid: int | None, number: signal.Signals) -> bool:
    """Whether there was a process to send a signal to."""
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
            return True
    return False


def stop_for_a_while(pid: int | None) -> bool:
    """Stop a process, which goes on by itself after a while: other faults strike meanwhile."""
    if not send(pid, signal.SIGSTOP):
        return False
    threading.Timer(_STOPPED_S, send, (pid, signal.SIGCONT)).start()
    return True


def actor(driver: int) -> int | None:
    """The process that measures."""
    return descendant(driver, "ray::BenchmarkRunner")


def remove_container(driver: int) -> bool:
    """Remove the container of the run that goes on."""
    client = docker.from_env(timeout=DOCKER_S)
    try:
        for container in client.containers.list(ignore_removed=True):
            owner = Owner.parse(container.labels.get(LABEL, ""))
            if owner is not None and is_below(owner.pid, driver) and not str(container.name).startswith(_PROBE):
                with suppress(docker.errors.APIError):
                    container.remove(force=True)
                return True
        return False
    finally:
        client.close()


def remove_spool(dataset: Path) -> bool:
    """Remove the folder of the run that goes on."""
    spools = [path for path in dataset.glob("spool/*") if (path / "row.json").is_file()]
    for path in spools:
        shutil.rmtree(path, ignore_errors=True)
    return bool(spools)


# Those that cost an attempt.
OF_RUNS: dict[str, Fault] = {
    "SIGKILL of the engine": lambda driver, _: send(engine_of(driver), signal.SIGKILL),
    "SIGTERM of the engine": lambda driver, _: send(engine_of(driver), signal.SIGTERM),
    "engine stopped": lambda driver, _: stop_for_a_while(engine_of(driver)),
    "actor stopped": lambda driver, _: stop_for_a_while(actor(driver)),
    "container removed": lambda driver, _: remove_container(driver),
    "spool removed": lambda _, dataset: remove_spool(dataset),
}
# Those after which a sweep needs another actor, or another Ray; it gives up after the fourth.
OF_RAY: dict[str, Fault] = {
    "SIGKILL of the actor": lambda driver, _: send(actor(driver), signal.SIGKILL),
    "SIGKILL of the raylet": lambda driver, _: send(descendant(driver, "raylet/raylet"), signal.SIGKILL),
    "SIGKILL of the GCS": lambda driver, _: send(descendant(driver, "gcs/gcs_server"), signal.SIGKILL),
}


@dataclass(frozen=True)
class Ending:
    """Signals to a driver one after the other, the status that it must end with, and whether nothing may be left over."""

    signals: tuple[signal.Signals, ...]
    status: int = 130
    is_orderly: bool = True


# Those that end a sweep.
OF_DRIVER: dict[str, Ending] = {
    "SIGKILL of the driver": Ending((signal.SIGKILL,), -signal.SIGKILL, is_orderly=False),
    "SIGINT": Ending((signal.SIGINT,)),
    "SIGTERM": Ending((signal.SIGTERM,)),
    "SIGHUP": Ending((signal.SIGHUP,)),
    "SIGINT twice": Ending((signal.SIGINT, signal.SIGINT), is_orderly=False),
}
