"""Short runs under random faults for some minutes; what must hold is checked from the data after every fault.

Sweeps of the simulated engine go into one dataset, one after another. In each, at a random moment, one fault is played:
SIGKILL of the driver, its Ray actor, raylet or engine, SIGINT, SIGTERM or SIGHUP to the driver, a stopped actor, a container
removed by hand. Then: every file can be read, no run is ok twice, no run that was ok is gone. At the end the dataset must
equal the plan,
and nothing may be left over.

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

from sparkray.machine.lock import Holder, MachineLock, lock_folder
from sparkray.runtimes.linux.owner import LABEL, Owner
from sparkray.runtimes.linux.process import marked, owner_of
from sparkray.store import Dataset

CHECKS = "{exclusive: warn, memory_state: warn, power_state: off}"
WORDS = ["--set", "engine.name=double", "--set", "engine.tokens_per_s=240", "--requests", "6"]
# Seconds that a sweep may take to its first run, to its end after a fault, and without a fault.
_BLOCKS, _RUN_S, _END_S, _LAST_S = 3, 90.0, 120.0, 600.0


@dataclass
class Soak:
    """What was played and seen. `blocks` is how many blocks the next sweep's plan has."""

    folder: Path
    rng: random.Random
    blocks: int = 0
    played: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    ok: set[str] = field(default_factory=set)
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

    def round(self) -> None:
        """One sweep of a few more blocks, with one fault."""
        self.blocks += _BLOCKS
        began, driver = time.time(), self.start()
        try:
            waited(driver, _RUN_S, lambda: self.under_way(began, driver.pid))
            time.sleep(self.rng.uniform(0.0, 4.0))
            name = self.rng.choice(sorted(FAULTS))
            if driver.poll() is None and FAULTS[name](driver.pid):
                self.played[name] += 1
            if not waited(driver, _END_S):
                self.wrong.append(f"a sweep did not end within {_END_S:g} s of {name}")
        finally:
            end(driver)
        self.statuses[driver.returncode] += 1
        self.check()

    def under_way(self, began: float, driver: int) -> bool:
        progress = self.dataset.path / "progress.json"
        return progress.exists() and progress.stat().st_mtime > began and engine_of(driver) is not None

    def check(self) -> None:
        """What must hold after every fault."""
        if not self.dataset.path.is_dir():
            return
        rows = self.dataset.read("runs", ["run_id", "attempt", "status"])
        for table in ("requests", "samples", "checks"):
            self.dataset.read(table, ["run_id"])
        ok = Counter(row["run_id"] for row in rows if row["status"] == "ok")
        self.wrong += [f"{run_id} is ok {count} times" for run_id, count in ok.items() if count > 1]
        gone = self.ok - set(ok)
        invalid = {row["run_id"] for row in rows if row["status"] == "invalid"}
        self.refused += len(gone & invalid)  # a later run showed that they were not sound, which is measured again
        self.wrong += [f"{run_id} was ok and is gone" for run_id in gone - invalid]
        self.ok = set(ok)

    def finish(self) -> None:
        """The same command without a fault: the dataset equals the plan, and nothing is left over."""
        driver = self.start()
        waited(driver, _LAST_S)
        end(driver)
        if driver.returncode != 0:
            self.wrong.append(f"the last sweep ended with status {driver.returncode}")
        self.check()
        if len(self.ok) != 2 * self.blocks:
            self.wrong.append(f"{len(self.ok)} runs are ok, {2 * self.blocks} were planned")
        self.wrong += left_over(self.folder)


def waited(driver: subprocess.Popen[bytes], limit_s: float, what: Callable[[], bool] = lambda: False) -> bool:
    """Whether a sweep has ended, or `what` is true, before so much time has passed in which nobody else had the machine."""
    spent_s, here = 0.0, time.monotonic()
    while driver.poll() is None and not what():
        if spent_s > limit_s:
            return False
        time.sleep(0.1)
        before, here = here, time.monotonic()
        if not others_measure(driver.pid):
            spent_s += here - before
    return True


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
    if driver.poll() is None:
        driver.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(30)
    driver.kill()
    driver.wait()


def left_over(folder: Path) -> list[str]:
    client = docker.from_env()
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
    client = docker.from_env()
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


def report(soak: Soak, minutes: float, seed: int) -> None:
    rows, planned = soak.dataset.read("runs", ["status"]), 2 * soak.blocks
    print(f"{minutes:.1f} min, seed {seed}: {sum(soak.played.values())} faults, {len(rows)} attempts")
    for name, count in sorted(soak.played.items()):
        print(f"  {count:3d} x {name}")
    print(f"attempts by status: {dict(Counter(row['status'] for row in rows))}")
    print(f"exit status of sweeps: {dict(soak.statuses)}; {soak.refused} ok runs refused later by a re-validation")
    kinds = {word: sum(word in line for line in soak.wrong) for word in ("is gone", " times", "left over")}
    lost, doubled, left = kinds.values()
    print(
        f"{len(soak.ok)} ok of {planned} planned, {lost} lost, {doubled} doubled, {left} left over; "
        f"{len(soak.wrong)} violations"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, random.Random(asked.seed))
    began = time.monotonic()
    while time.monotonic() - began < 60 * asked.minutes:
        soak.round()
    soak.finish()
    report(soak, (time.monotonic() - began) / 60, asked.seed)
    for line in soak.wrong:
        print(f"  {line}")
    if soak.wrong:
        raise SystemExit(f"kept: {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
