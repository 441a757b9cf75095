"""Sweeps as a user starts them, for the tests of what survives: processes found by what they are, never by luck."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil

from sparkray.machine.lock import Holder, MachineLock, lock_folder
from sparkray.runtimes.linux.owner import LABEL, Owner
from sparkray.runtimes.linux.process import marked, owner_of

SWEEPS = ("baseline", "quick", "validate")
NEIGHBOURLY = "{{exclusive: warn, memory_state: warn, power_state: {probe}}}"
"""Checks that a neighbour of this machine can set off at any time: they must not decide whether these tests pass. The
control probe takes longer than a run of the double, and is left out beside it."""
DOUBLE = ["--set", "engine.name=double", "--requests", "6"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> dict:
        return json.loads(self.out)


def command(verb: str, *arguments: str) -> list[str]:
    """A sweep is of the site `cpu` unless another is named: a machine with a GPU would take another by itself."""
    site = ["--site", "cpu"] if verb == "baseline" and "--site" not in arguments else []
    checks = NEIGHBOURLY.format(probe="off" if DOUBLE[1] in arguments else "warn")
    patient = ["--set", f"experiment.checks={checks}"] if verb in SWEEPS else []
    # seconds of CPU time each; sweeps of a real engine have it
    plain = ["--no-dashboard"] if verb in SWEEPS and DOUBLE[1] in arguments else []
    return [sys.executable, "-m", "sparkray.sweep", verb, *site, *patient, *plain, *arguments]


def sparkray(*arguments: str, timeout_s: float = 480, env: dict[str, str] | None = None) -> Done:
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    return Done(done.returncode, done.stdout, done.stderr)


def actor_pid(driver: int) -> int | None:
    """The runner that belongs to a driver's own Ray: a descendant whose title Ray set, during a run to the run's name."""
    for child in _descendants(driver):
        try:
            if " ".join(child.cmdline()).startswith(("ray::BenchmarkRunner", "ray::run ")):
                return child.pid
        except psutil.Error:
            continue
    return None


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def engine_pid() -> int | None:
    """The engine that runs now, in whichever arm."""
    pids = marked()
    return pids[0] if pids else None


def under_way(results: Path, began: float = 0.0) -> bool:
    """Whether a sweep is at a run: the container of a preflight, or what a killed sweep left behind, does not count."""
    progress = results / "local" / "progress.json"
    return progress.exists() and progress.stat().st_mtime > began and engine_pid() is not None


def await_true(what, timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


class Patience:
    """The time of a sweep, in which no other sweep holds the machine: how long this one takes does not depend on that."""

    def __init__(self, driver: int) -> None:
        self.driver, self.spent_s = driver, 0.0

    def until(self, what: Callable[[], object], limit_s: float) -> bool:
        """Whether it comes true before so much of that time has passed."""
        began, here = self.spent_s, time.monotonic()
        while not what():
            if self.spent_s - began > limit_s:
                return False
            time.sleep(0.1)
            before, here = here, time.monotonic()
            if not self._waits():
                self.spent_s += here - before
        return True

    def _waits(self) -> bool:
        """Whether the machine is another's: neither the driver's nor of a process below it."""
        holder = MachineLock().holder()
        if holder is None or not holder.is_alive():
            return False
        try:
            above = [process.pid for process in psutil.Process(holder.pid).parents()]
        except psutil.NoSuchProcess:
            return False
        return self.driver not in (holder.pid, *above)


def remains(results: Path) -> dict[str, list[str]]:
    """What a sweep must not leave: containers, marked processes, mounts, spool folders, the lock's note.

    What has an owner who lives is a neighbour's.
    """
    client = docker.from_env()
    every = client.containers.list(all=True, ignore_removed=True)
    containers = [
        c.name for c in every if c.name.startswith("sparkray-") and not _lives(Owner.parse(c.labels.get(LABEL, "")))
    ]
    client.close()
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/rootfs/" in line]
    spool = [str(path) for path in results.glob("*/spool/*")]
    notes = [str(path) for path in lock_folder().glob("sparkray-*.json") if not _held(path)]
    return {
        "containers": containers,
        "processes": [str(p) for p in marked() if not _lives(owner_of(p))],
        "mounts": mounts,
        "spool": spool,
        "notes": notes,
    }


def _lives(owner: Owner | None) -> bool:
    return owner is not None and bool(owner.is_alive())


def _held(note: Path) -> bool:
    """Whether somebody who lives holds this lock: another's turn has begun, which is not ours to judge."""
    try:
        return Holder(**json.loads(note.read_text())).is_alive()
    except (OSError, ValueError, TypeError):
        return True


NOTHING: dict[str, list[str]] = {"containers": [], "processes": [], "mounts": [], "spool": [], "notes": []}
