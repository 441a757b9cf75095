"""Short runs under random faults for some minutes; what must hold is checked from the data after every sweep.

Sweeps of the simulated engine, with a model of a few bytes, go into one dataset, one after another. Inside each, at random
moments, one to three faults at once are played: the engine, the actor, the raylet or the GCS killed, engine or actor
stopped for a while, the run's container or spool removed. Many sweeps end by a signal to their driver, some before their
first run. Then `soak_invariants` must hold, the exit status must be the documented one, and after an orderly end nothing
may be left over. At the end the dataset must equal the plan.

It prints a line after every sweep, and ends within its minutes and 10 more, however a sweep or the machine behaves; its
last lines come then, too, and after SIGINT or SIGTERM. It waits while somebody else holds the machine's lock. In a mount
namespace with a `/run/lock` of its own, and a network namespace with a loopback of its own, it does not:

    sudo python benchmarks/soak.py [--minutes 20] [--seed 7]
"""
# ruff: noqa: D102 - short methods

import argparse
import hashlib
import json
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
from soak_faults import DOCKER_S, OF_DRIVER, OF_RAY, OF_RUNS, Fault, engine_of, is_below
from soak_invariants import Invariants

from sparkray.errors import DatasetError
from sparkray.execute.layout import container_name
from sparkray.machine.lock import Holder, MachineLock, lock_folder
from sparkray.runtimes.linux.owner import LABEL, Owner
from sparkray.runtimes.linux.process import marked, name_of, owner_of

ARMS = ("native", "container_baseline")
REQUESTS, WARM_UPS = 4, 1
SETTINGS = (
    "experiment.checks={exclusive: warn, memory_state: warn, power_state: off}",
    "engine.name=double",
    "engine.tokens_per_s=1000",
    "engine.load_s=0.05",
    f"experiment.workload.warmup_requests={WARM_UPS}",
    "experiment.workload.output_tokens=4",
)
CARD = """
name: soak
architecture: decoder
engine_architecture: double
licence: none
why: a few bytes, so that a run takes no time to read its weights
size: small
tier: 0
dtype: gguf
quantisation: none
max_batch_size: 1
weights: {{kind: file, path: {path}, sha256: {sha256}}}
"""
# Blocks that a sweep plans more than are ok, and seconds that one block takes until that is known.
_MOST_BLOCKS, _LEAST_BLOCKS, _BLOCK_S = 100, 6, 3.0
# Moments of a sweep at which faults are played, seconds between two, and how many faults of Ray a sweep gets.
_MOST_MOMENTS, _APART_S, _MOST_OF_RAY = 20, 8.0, 3
_RAY_SHARE, _DRIVER_SHARE, _EARLY_SHARE, _EARLY_S = 0.06, 0.7, 0.15, (1.0, 15.0)
# Seconds that a sweep may take to its first run, to its end after its last fault, and for what is left in the end.
_RUN_S, _END_S, _LAST_S = 90.0, 300.0, 400.0
# Seconds for SIGINT to end a sweep, until there is something that a fault can strike, and between two looks.
_STOP_S, _FIND_S, _POLL_S, _AGAIN_S = 30.0, 10.0, 0.1, 0.3
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
        statuses: How often sweeps ended with a status.
    """

    folder: Path
    rng: random.Random
    ends: float
    blocks: int = 0
    rounds: int = 0
    began: float = field(default_factory=time.monotonic)
    played: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    data: Invariants = field(init=False)

    def __post_init__(self) -> None:
        self.data = Invariants(self.folder / "local", ARMS, WARM_UPS)
        weights = self.folder / "soak.gguf"
        weights.write_bytes(b"GGUF" + bytes(60))
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        (self.folder / "soak.yaml").write_text(CARD.format(path=weights, sha256=sha256))

    @property
    def wrong(self) -> list[str]:
        """What does not hold."""
        return self.data.wrong

    def start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "sparkray.sweep",
            "baseline",
            "--site",
            "cpu",
            "--no-dashboard",
            "--yes",
            "--json",
        ]
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        what = ["--models", str(self.folder / "soak.yaml"), "--requests", str(REQUESTS), "--runs", str(self.blocks)]
        with (self.folder / "sweeps.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *settings, *what, "--results-dir", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def plan(self, left_s: float) -> None:
        """Plan more blocks, as many as fit into the time, and never so many that they pile up."""
        done = len(self.data.ok) // len(ARMS)
        block_s = (time.monotonic() - self.began) / done if done else _BLOCK_S
        more = min(_MOST_BLOCKS, max(_LEAST_BLOCKS, int(left_s / block_s)))
        self.blocks = max(self.blocks, done + more)

    def round(self, left_s: float) -> list[str]:
        """One sweep with faults; returns their names. Raises OverError."""
        self.rounds += 1
        self.plan(left_s)
        began, driver = time.time(), self.start()
        names: list[str] = []
        try:
            last = self.rng.choice(sorted(OF_DRIVER)) if self.rng.random() < _DRIVER_SHARE else ""
            if last and self.rng.random() < _EARLY_SHARE:
                self.waited(driver, self.rng.uniform(*_EARLY_S))
            else:
                self.waited(driver, _RUN_S, lambda: self.under_way(began, driver.pid))
                for _ in range(self.rng.randint(1, _MOST_MOMENTS)):
                    self.waited(driver, self.rng.uniform(0.0, _APART_S))
                    names += self.moment(driver, names)
            if last and driver.poll() is None:
                names.append(last)
                for number in OF_DRIVER[last].signals:
                    driver.send_signal(number)
                    self.waited(driver, _AGAIN_S)
            if not self.waited(driver, _END_S):
                self.wrong.append(f"a sweep did not end within {_END_S:g} s of {', '.join(names)}")
        finally:
            end(driver)
            self.played.update(names)
            self.statuses[driver.returncode] += 1
        self.data.check()
        self.check_end(driver, names)
        return names

    def moment(self, driver: subprocess.Popen[bytes], before: list[str]) -> list[str]:
        """Play one to three faults at once; returns those that found something to strike. Raises OverError."""
        names: list[str] = []
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            of_ray = self.rng.random() < _RAY_SHARE and sum(name in OF_RAY for name in (*before, *names)) < _MOST_OF_RAY
            faults = OF_RAY if of_ray else OF_RUNS
            name = self.rng.choice(sorted(faults))
            if self.struck(driver, faults[name]):
                names.append(name)
        return names

    def struck(self, driver: subprocess.Popen[bytes], fault: Fault) -> bool:
        """Whether a fault found something to strike before long. Raises OverError."""
        found = False

        def play() -> bool:
            nonlocal found
            found = fault(driver.pid, self.data.path)
            return found

        self.waited(driver, _FIND_S, play)
        return found

    def under_way(self, began: float, driver: int) -> bool:
        progress = self.data.path / "progress.json"
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
            time.sleep(min(_POLL_S, limit_s))
            before, here = here, time.monotonic()
            if not others_measure(driver.pid):
                spent_s += here - before
        return True

    def check_end(self, driver: subprocess.Popen[bytes], names: list[str]) -> None:
        """A sweep ended with the documented status, and an orderly end leaves nothing."""
        last = OF_DRIVER.get(names[-1]) if names else None
        of_data, untried = self.data.left(self.blocks)
        wanted = {1 if of_data else 0}
        if last is not None:
            wanted = {last.status, *(() if untried else wanted)}  # it may have ended just before the signal
        if driver.returncode not in wanted:
            after = ", ".join(names) or "no fault"
            self.wrong.append(f"status {driver.returncode} after {after}; {of_data} runs not ok, {untried} not tried")
        if last is None or last.is_orderly:
            self.wrong.extend(left_over(self.folder, {run_id for run_id, _ in self.data.attempts}))

    def finish(self) -> None:
        """The same command without a fault: the dataset equals the plan, and nothing is left over. Raises OverError."""
        driver = self.start()
        try:
            self.waited(driver, _LAST_S)
        finally:
            end(driver)
        self.data.check()
        self.data.check_plan(self.blocks)
        self.check_end(driver, [])


def others_measure(driver: int) -> bool:
    """Whether the machine is held by a process that is neither this driver nor below it."""
    holder = MachineLock().holder()
    if holder is None or not holder.is_alive() or "/soak-" in holder.dataset:  # the runner of an earlier sweep of ours
        return False
    return not is_below(holder.pid, driver)


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


def left_over(folder: Path, run_ids: set[str]) -> list[str]:
    """What sweeps left of these runs, in words."""
    names = {container_name(run_id) for run_id in run_ids}
    client = docker.from_env(timeout=DOCKER_S)
    every = client.containers.list(all=True, ignore_removed=True)
    ours = [c for c in every if c.name in names and not lives(Owner.parse(c.labels.get(LABEL, "")))]
    client.close()
    found: dict[str, list[Any]] = {
        "container": [c.name for c in ours],
        "process": [pid for pid in marked() if name_of(pid) in names and not lives(owner_of(pid))],
        "mount": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/rootfs/" in line],
        "spool": list(folder.glob("*/spool/*")),
        "lock note": [path for path in lock_folder().glob("sparkray-*.json") if not is_held(path)],
    }
    return [f"left over: {kind} {one}" for kind, each in found.items() for one in each]


def lives(owner: Owner | None) -> bool:
    return owner is not None and bool(owner.is_alive())


def is_held(note: Path) -> bool:
    try:
        return Holder(**json.loads(note.read_text())).is_alive()
    except (OSError, ValueError, TypeError):
        return False


def report(soak: Soak, seed: int, over: str) -> None:
    minutes, attempts, planned = (time.monotonic() - soak.began) / 60, len(soak.data.attempts), len(ARMS) * soak.blocks
    faults = sum(soak.played.values())
    for name, count in soak.played.most_common():
        print(f"  {count:3d} x {name}")
    print(f"attempts by status: {soak.data.by_status()}")
    print(f"exit status of sweeps: {dict(soak.statuses)}; {soak.data.refused} ok runs refused later by a re-validation")
    for line in soak.wrong:
        print(f"  {line}")
    kinds = {word: sum(word in line for line in soak.wrong) for word in ("is gone", " times", "left over")}
    lost, doubled, left = kinds.values()
    print(
        f"{f'stopped early, {over}: ' if over else ''}{minutes:.1f} min, seed {seed}: {soak.rounds} sweeps, "
        f"{faults} faults, {attempts} attempts ({attempts / minutes:.1f} a minute), {len(soak.data.ok)} ok of "
        f"{planned} planned, {lost} lost, {doubled} doubled, {left} left over; {len(soak.wrong)} violations",
        flush=True,
    )


def on_signal(number: int, _: object) -> None:
    """SIGALRM is the last resort, where a call hangs that no limit covers. Raises OverError."""
    signal.alarm(round(2 * _STOP_S))  # the end has its limit, too
    raise OverError("the time was up" if number == signal.SIGALRM else signal.Signals(number).name)


def play(soak: Soak, minutes: float) -> str:
    """Sweep after sweep, then the last one; returns why that did not end, if it did not."""
    try:
        while (left_s := soak.began + 60 * minutes - time.monotonic()) > 0:
            names = soak.round(left_s)
            tries, planned = len(soak.data.attempts), len(ARMS) * soak.blocks
            done = f"{tries} attempts, {len(soak.data.ok)} ok of {planned} planned, {len(soak.wrong)} violations"
            after = ", ".join(names) or "no fault"
            print(f"{(time.monotonic() - soak.began) / 60:5.1f} min  sweep {soak.rounds}: {after}; {done}", flush=True)
        soak.finish()
    except OverError as error:
        return str(error)
    except (DatasetError, OSError, subprocess.TimeoutExpired, docker.errors.DockerException) as error:
        soak.wrong.append(f"{type(error).__name__}: {error}")
        return type(error).__name__
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    whole_s = 60 * asked.minutes + _BOUND_S
    soak = Soak(folder, random.Random(asked.seed), time.monotonic() + whole_s - 4 * _STOP_S)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, on_signal)
    signal.alarm(round(whole_s - 2 * _STOP_S))
    over = play(soak, asked.minutes)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    report(soak, asked.seed, over)
    if soak.wrong or over:
        raise SystemExit(f"kept: {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
