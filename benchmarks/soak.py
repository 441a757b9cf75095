"""Short runs under random faults for some minutes; what must hold is checked from the data after every sweep.

Sweeps of the simulated engine go into one dataset, one after another. In each, at random moments, faults are played:
SIGKILL of the driver, its Ray actor, raylet or engine, SIGINT, SIGTERM or SIGHUP to the driver, a stopped actor, a container
removed by hand. Then: every file can be read, no run is ok twice, no run that was ok is gone. At the end the dataset must
equal the plan, and nothing may be left over.

It prints a line after every sweep, and ends within its minutes and 10 more, however a sweep or the machine behaves; its
last lines come then, too, and after SIGINT or SIGTERM.

    sudo python benchmarks/soak.py [--minutes 20] [--seed 7]
"""
# ruff: noqa: D102 - short methods

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil

from sparkray.errors import DatasetError
from sparkray.machine.lock import Holder, MachineLock, lock_folder
from sparkray.runtimes.linux.owner import LABEL, Owner
from sparkray.runtimes.linux.process import marked, owner_of
from sparkray.store import Dataset
from sparkray.store.parquet import rows_of
from sparkray.store.tables import TABLES

ARMS = ("native", "container_baseline")
CHECKS = "{exclusive: warn, memory_state: warn, power_state: off}"
WORDS = ["--set", "engine.name=double", "--set", "engine.tokens_per_s=1200", "--requests", "6"]
_BLOCKS, _MOST_FAULTS = 12, 6
# Seconds that a sweep may take to its first run, to its end after its last fault, and for what is left in the end.
_RUN_S, _END_S, _LAST_S = 90.0, 180.0, 240.0
# Seconds for SIGINT to end a sweep, and for a call to Docker.
_STOP_S, _DOCKER_S = 30.0, 20
# Seconds until there is something that a fault can strike.
_FIND_S = 15.0
# After the minutes: the sweep under way, the last one, their ends, and the reading of what they left.
_BOUND_S = 600.0


class OverError(Exception):
    """The time is up, or somebody asked for the end."""


@dataclass
class Soak:
    """What was played and seen.

    Attributes:
        ends: When no sweep may go on any more, s on the monotonic clock.
        blocks: Blocks of the last sweep's plan.
        ok: Runs that are ok.
        read: Files that were read and have not been replaced since.
        refused: Runs that were ok until a later one showed that they were not sound.
        wrong: What does not hold.
    """

    folder: Path
    rng: random.Random
    ends: float
    blocks: int = 0
    rounds: int = 0
    played: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    ok: set[str] = field(default_factory=set)
    read: dict[Path, tuple[int, int]] = field(default_factory=dict)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> Dataset:
        """All runs."""
        return Dataset(self.folder / "local")

    def start(self) -> subprocess.Popen[bytes]:
        words = [
            "baseline",
            "--site",
            "cpu",
            "--set",
            f"experiment.checks={CHECKS}",
            "--no-dashboard",
            "--yes",
            "--json",
        ]
        command = [sys.executable, "-m", "sparkray.sweep", *words, *WORDS]
        place = ["--results-dir", str(self.folder), "--runs", str(self.blocks)]
        with (self.folder / "sweeps.log").open("ab") as log:
            return subprocess.Popen([*command, *place], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def round(self) -> list[str]:
        """One sweep until some more blocks are ok, with faults; returns their names. Raises OverError."""
        self.rounds += 1
        self.blocks = max(self.blocks, len(self.ok) // len(ARMS) + _BLOCKS)  # what is left never piles up
        began, driver = time.time(), self.start()
        names: list[str] = []
        try:
            self.waited(driver, _RUN_S, lambda: self.under_way(began, driver.pid))
            for _ in range(self.rng.randint(1, _MOST_FAULTS)):
                self.waited(driver, self.rng.uniform(0.0, 8.0))
                if (name := self.strike(driver)) is not None:
                    names.append(name)
            if not self.waited(driver, _END_S):
                self.wrong.append(f"a sweep did not end within {_END_S:g} s of {', '.join(names)}")
        finally:
            end(driver)
            self.played.update(names)
            self.statuses[driver.returncode] += 1
        self.check()
        return names

    def strike(self, driver: subprocess.Popen[bytes]) -> str | None:
        """Play a fault; returns its name, None where there is nothing that it could strike. Raises OverError."""
        name, struck = self.rng.choice(sorted(FAULTS)), False

        def play() -> bool:
            nonlocal struck
            struck = FAULTS[name](driver.pid)
            return struck

        self.waited(driver, _FIND_S, play)
        return name if struck else None

    def under_way(self, began: float, driver: int) -> bool:
        progress = self.dataset.path / "progress.json"
        return progress.exists() and progress.stat().st_mtime > began and engine_of(driver) is not None

    def waited(self, driver: subprocess.Popen[bytes], limit_s: float, what: Callable[[], bool] = lambda: False) -> bool:
        """Whether a sweep has ended, or `what` is true, before so much time has passed in which nobody else had the machine.

        Raises OverError once all time is up.
        """
        spent_s, here = 0.0, time.monotonic()
        while driver.poll() is None and not what():
            if here > self.ends:
                raise OverError("the time was up")
            if spent_s > limit_s:
                return False
            time.sleep(0.1)
            before, here = here, time.monotonic()
            if not others_measure(driver.pid):
                spent_s += here - before
        return True

    def check(self) -> None:
        """What must hold after every sweep."""
        if not self.dataset.path.is_dir():
            return
        self.read_new()
        rows = self.dataset.read("runs", ["run_id", "attempt", "status"])
        ok = Counter(row["run_id"] for row in rows if row["status"] == "ok")
        self.wrong += [f"{run_id} is ok {count} times" for run_id, count in ok.items() if count > 1]
        gone = self.ok - set(ok)
        invalid = {row["run_id"] for row in rows if row["status"] == "invalid"}
        self.refused += len(gone & invalid)  # a later run showed that they were not sound, which is measured again
        self.wrong += [f"{run_id} was ok and is gone" for run_id in gone - invalid]
        self.ok = set(ok)

    def read_new(self) -> None:
        """Read every file that is new or was replaced, whole. Raises DatasetError."""
        for table in TABLES:
            for path in sorted((self.dataset.path / table).glob("*.parquet")):
                found = path.stat()
                if self.read.get(path) != (stamp := (found.st_ino, found.st_mtime_ns)):
                    rows_of(path, table)
                    self.read[path] = stamp

    def finish(self) -> None:
        """The same command without a fault: the dataset equals the plan, and nothing is left over. Raises OverError."""
        driver = self.start()
        try:
            self.waited(driver, _LAST_S)
        finally:
            end(driver)
        if driver.returncode != 0:
            self.wrong.append(f"the last sweep ended with status {driver.returncode}")
        self.check()
        if len(self.ok) != len(ARMS) * self.blocks:
            self.wrong.append(f"{len(self.ok)} runs are ok, {len(ARMS) * self.blocks} were planned")
        self.wrong += left_over(self.folder)


def others_measure(driver: int) -> bool:
    """Whether the machine is held by a process that is neither this driver nor below it."""
    holder = MachineLock().holder()
    if holder is None or not holder.is_alive() or "/soak-" in holder.dataset:  # the runner of an earlier sweep of ours
        return False
    return not is_below(holder.pid, driver)


def is_below(pid: int, driver: int) -> bool:
    """Whether a process is a driver's or the driver: what others started beside this is never touched."""
    try:
        return driver in (pid, *(process.pid for process in psutil.Process(pid).parents()))
    except psutil.Error:
        return False


def engine_of(driver: int) -> int | None:
    owners = {pid: owner_of(pid) for pid in marked()}
    return next((pid for pid, owner in owners.items() if owner is not None and is_below(owner.pid, driver)), None)


def lives(owner: Owner | None) -> bool:
    return owner is not None and bool(owner.is_alive())


def end(driver: subprocess.Popen[bytes]) -> None:
    """End a sweep that has not ended."""
    try:
        if driver.poll() is None:
            driver.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(_STOP_S)
    finally:
        driver.kill()
        driver.wait(_STOP_S)


def left_over(folder: Path) -> list[str]:
    client = docker.from_env(timeout=_DOCKER_S)
    every = client.containers.list(all=True, ignore_removed=True)
    ours = [c for c in every if str(c.name).startswith("sparkray-") and not lives(Owner.parse(c.labels.get(LABEL, "")))]
    client.close()
    notes = [path for path in lock_folder().glob("sparkray-*.json") if not is_held(path)]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/rootfs/" in line]
    found: dict[str, list[Any]] = {
        "container": [c.name for c in ours],
        "process": [pid for pid in marked() if not lives(owner_of(pid))],
        "mount": mounts,
        "spool": list(folder.glob("*/spool/*")),
        "lock note": notes,
    }
    return [f"left over: {kind} {one}" for kind, each in found.items() for one in each]


def is_held(note: Path) -> bool:
    try:
        return Holder(**json.loads(note.read_text())).is_alive()
    except (OSError, ValueError, TypeError):
        return False


def descendant(driver: int, title: str) -> int | None:
    with suppress(psutil.Error):
        for child in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.Error):
                if title in " ".join(child.cmdline()):
                    return child.pid
    return None


def send(pid: int | None, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
            return True
    return False


def stop_for_a_while(driver: int) -> bool:
    actor = descendant(driver, "ray::BenchmarkRunner")
    stopped = send(actor, signal.SIGSTOP)
    time.sleep(3.0)
    return send(actor, signal.SIGCONT) and stopped


def remove_container(driver: int) -> bool:
    client = docker.from_env(timeout=_DOCKER_S)
    try:
        for container in client.containers.list(ignore_removed=True):
            owner = Owner.parse(container.labels.get(LABEL, ""))
            if owner is not None and is_below(owner.pid, driver):
                with suppress(docker.errors.APIError):
                    container.remove(force=True)
                return True
        return False
    finally:
        client.close()


FAULTS: dict[str, Callable[[int], bool]] = {
    "SIGKILL of the driver": lambda driver: send(driver, signal.SIGKILL),
    "SIGINT": lambda driver: send(driver, signal.SIGINT),
    "SIGTERM": lambda driver: send(driver, signal.SIGTERM),
    "SIGHUP": lambda driver: send(driver, signal.SIGHUP),
    "SIGKILL of the actor": lambda driver: send(descendant(driver, "ray::BenchmarkRunner"), signal.SIGKILL),
    "SIGKILL of the raylet": lambda driver: send(descendant(driver, "raylet/raylet"), signal.SIGKILL),
    "SIGKILL of the engine": lambda driver: send(engine_of(driver), signal.SIGKILL),
    "actor stopped for 3 s": stop_for_a_while,
    "container removed": remove_container,
}


def report(soak: Soak, minutes: float, seed: int, over: str) -> None:
    rows, planned = soak.dataset.read("runs", ["status"]) if soak.ok else [], len(ARMS) * soak.blocks
    print(
        f"{minutes:.1f} min, seed {seed}: {soak.rounds} sweeps, {sum(soak.played.values())} faults, {len(rows)} attempts"
    )
    for name, count in sorted(soak.played.items()):
        print(f"  {count:3d} x {name}")
    print(f"attempts by status: {dict(Counter(row['status'] for row in rows))}")
    print(f"exit status of sweeps: {dict(soak.statuses)}; {soak.refused} ok runs refused later by a re-validation")
    for line in soak.wrong:
        print(f"  {line}")
    kinds = {word: sum(word in line for line in soak.wrong) for word in ("is gone", " times", "left over")}
    lost, doubled, left = kinds.values()
    print(
        f"{f'stopped early, {over}: ' if over else ''}{len(soak.ok)} ok of {planned} planned, {lost} lost, "
        f"{doubled} doubled, {left} left over; {len(soak.wrong)} violations",
        flush=True,
    )


def on_signal(number: int, _: object) -> None:
    """SIGALRM is the last resort, where a call hangs that no limit covers. Raises OverError."""
    signal.alarm(round(2 * _STOP_S))  # the end has its limit, too
    raise OverError("the time was up" if number == signal.SIGALRM else signal.Signals(number).name)


def play(soak: Soak, minutes: float) -> str:
    """Sweep after sweep, then the last one; returns why that did not end, if it did not."""
    began, over = time.monotonic(), ""
    try:
        while time.monotonic() - began < 60 * minutes:
            names = soak.round()
            done = f"{len(soak.ok)} ok of {len(ARMS) * soak.blocks} planned, {len(soak.wrong)} violations"
            after = ", ".join(names) or "no fault"
            print(f"{(time.monotonic() - began) / 60:5.1f} min  sweep {soak.rounds}: {after}; {done}", flush=True)
        soak.finish()
    except OverError as error:
        over = str(error)
    except (DatasetError, OSError, subprocess.TimeoutExpired, docker.errors.DockerException) as error:
        over = type(error).__name__
        soak.wrong.append(f"{over}: {error}")
    return over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began, whole_s = time.monotonic(), 60 * asked.minutes + _BOUND_S
    soak = Soak(folder, random.Random(asked.seed), began + whole_s - 4 * _STOP_S)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, on_signal)
    signal.alarm(round(whole_s - 2 * _STOP_S))
    over = play(soak, asked.minutes)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    report(soak, (time.monotonic() - began) / 60, asked.seed, over)
    if soak.wrong or over:
        raise SystemExit(f"kept: {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
