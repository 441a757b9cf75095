"""The blocks of a plan, given to the machines of a cluster one by one.

A block is measured on one machine, so that its runs are compared under the same conditions. Where that machine is lost
before the block is complete, the block is begun again on another. Its ok runs count until that other one begins.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sparkray.plan import PlannedRun
from sparkray.records import SATURATED
from sparkray.store import Dataset

Key = tuple[str, str, int]
_POLL_S = 0.5


def key_of(run: PlannedRun) -> Key:
    """The block of a run."""
    return run.model, run.level, run.block


@dataclass
class Blocks:
    """What is left of a plan.

    Args:
        dataset: Where runs are stored.
        plan: All runs.
        todo: Those to measure.
        hosts: The machines that take part.

    Attributes:
        guard: Held while blocks change hands, and while late results are stored.
        members: Machines that measure; `idle` of them wait.
        waiting: Runs that nobody has taken, by block; `counts` is how many, by model and level.
        homes: The machine that has ok runs of a waiting block; it need not be a member.
        under_way: What each machine has taken.
        again: Blocks under way that begin anew, since another machine did not complete them.
        unneeded: Ids of planned runs that need not be made.
    """

    dataset: Dataset
    plan: Sequence[PlannedRun]
    todo: Sequence[PlannedRun]
    hosts: Collection[str]
    guard: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    members: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)
    waiting: dict[Key, list[PlannedRun]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    homes: dict[Key, str] = field(default_factory=dict)
    under_way: dict[str, list[PlannedRun]] = field(default_factory=dict)
    again: set[Key] = field(default_factory=set)
    unneeded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.examples = {(run.model, run.level): run for run in self.plan}
        self.members.update(self.hosts)
        for run in self.todo:
            self.waiting.setdefault(key_of(run), []).append(run)
            self.counts[run.model, run.level] += 1
        wanted = {run.run_id for run in self.todo} | {row["run_id"] for row in self._done()}
        self.unneeded = {run.run_id for run in self.plan} - wanted
        self.refresh()

    def refresh(self) -> int:
        """Read from the dataset which machines waiting blocks were begun on, and which of their runs are done.

        Returns:
            How many of those that waited are done.
        """
        with self.guard:
            wanted = {run.run_id: key_of(run) for run in self.plan if key_of(run) in self.waiting}
            rows = [row for row in self._done() if row["run_id"] in wanted]
            # rows of older versions may name no machine
            self.homes = {wanted[row["run_id"]]: row["host"] for row in rows if row["host"] is not None}
            before = len(self.runs)
            self._remove({row["run_id"] for row in rows})
            self.guard.notify_all()
            return before - len(self.runs)

    def _done(self) -> list[dict[str, Any]]:
        rows = self.dataset.read("runs", ["run_id", "attempt", "status", "host"])
        return [row for row in rows if row["status"] in ("ok", SATURATED)]

    @property
    def runs(self) -> list[PlannedRun]:
        """Those that wait, of all blocks."""
        with self.guard:
            return [run for runs in self.waiting.values() for run in runs]

    def expected_s(self, total_s: Callable[[PlannedRun], float]) -> float:
        """Seconds of those that wait, as `total_s` estimates a run of each model and level."""
        with self.guard:
            return sum(number * total_s(self.examples[kind]) for kind, number in self.counts.items() if number)

    def begun_elsewhere(self, host: str) -> set[str]:
        """Ids of runs of blocks that other machines have begun."""
        key_by_id = {run.run_id: key_of(run) for run in self.plan}
        with self.guard:
            keys = {key_of(run) for other, runs in self.under_way.items() if other != host for run in runs}
            keys |= {
                key_by_id[row["run_id"]] for row in self._done() if row["host"] != host and row["run_id"] in key_by_id
            }
        return {run.run_id for run in self.plan if key_of(run) in keys}

    def take(self, host: str, stopping: Callable[[], bool]) -> list[PlannedRun]:
        """The next block for a machine, whose last one is over; waits while another may still have to give one back.

        Returns:
            Its runs; none where nothing is left to do, or after a stop.
        """
        with self.guard:
            self.under_way.pop(host, None)
            self.idle.add(host)
            self.guard.notify_all()
            while not stopping():
                if (key := self._next(host)) is not None:
                    self.idle.discard(host)
                    self.under_way[host] = self._taken(key, host)
                    return list(self.under_way[host])
                if self.members <= self.idle:
                    break
                self.guard.wait(_POLL_S)
        return []

    def _next(self, host: str) -> Key | None:
        """A block that this machine began, else one that nobody did, else one of a machine that is not there."""
        begun = [key for key in self.waiting if key in self.homes] if self.homes else []
        own = (key for key in begun if self.homes[key] == host)
        fresh = (key for key in self.waiting if key not in self.homes)
        left = (key for key in begun if self.homes[key] not in self.members)
        return next(chain(own, fresh, left), None)

    def _taken(self, key: Key, host: str) -> list[PlannedRun]:
        """The runs of a waiting block, which waits no more: all of them where another machine began it."""
        runs = self.waiting.pop(key)
        self.counts[key[:2]] -= len(runs)
        if self.homes.get(key, host) == host:
            return runs
        self.again.add(key)
        own = {row["run_id"] for row in self._done() if row["host"] == host}
        return [run for run in self._needed(key) if run.run_id not in own]

    def _needed(self, key: Key) -> list[PlannedRun]:
        return [run for run in self.plan if key_of(run) == key and run.run_id not in self.unneeded]

    def hold(self, host: str, runs: Iterable[PlannedRun]) -> None:
        """A machine has these to measure before it takes its first block: they are waited for."""
        with self.guard:
            self.under_way[host] = list(runs)

    def begin(self, host: str, run: PlannedRun) -> int:
        """A machine is about to make a run. Where its block was begun elsewhere, what is ok there no longer counts.

        Returns:
            How many runs count no more.

        Raises:
            StorageError: It could not be stored.
        """
        with self.guard:
            if key_of(run) not in self.again:
                return 0
            ids = {one.run_id for one in self.plan if key_of(one) == key_of(run)}
            rows = [row for row in self._done() if row["run_id"] in ids and row["host"] != host]
            for row in rows:
                why = f"its block was not completed on {row['host']}, and is measured again on another machine"
                self.dataset.revise(row["run_id"], row["attempt"], status="interrupted", reason=why)
            self.again.discard(key_of(run))
            return len(rows)

    def drop(self, run_ids: Collection[str]) -> None:
        """Runs that are not needed any more."""
        with self.guard:
            self.unneeded.update(run_ids)
            self._remove(run_ids)

    def _remove(self, run_ids: Collection[str]) -> None:
        for key, runs in list(self.waiting.items()):
            self.waiting[key] = [run for run in runs if run.run_id not in run_ids]
            self.counts[key[:2]] -= len(runs) - len(self.waiting[key])
            if not self.waiting[key]:
                del self.waiting[key]

    def leave(self, host: str, unfinished: Iterable[PlannedRun] = (), *, lost: bool = False) -> None:
        """A machine measures no more.

        Args:
            host: The machine.
            unfinished: Runs that it was still to make.
            lost: Whether another machine may take its blocks that are not complete; else they stay as they are.
        """
        with self.guard:
            taken = self.under_way.pop(host, [])
            self.members.discard(host)
            self.idle.discard(host)
            if lost:
                keys = {key_of(run) for run in (*unfinished, *taken)}
                self.again -= keys
                for key in keys:
                    before, self.waiting[key] = self.waiting.get(key, []), self._needed(key)
                    self.counts[key[:2]] += len(self.waiting[key]) - len(before)
                self.refresh()
            self.guard.notify_all()

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Until everything is measured, no machine is left, or somebody asked for the end."""
        with self.guard:
            while self.members and (self.waiting or self.under_way) and not stopping():
                self.guard.wait(_POLL_S)
