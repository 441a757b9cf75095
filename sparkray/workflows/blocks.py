"""The blocks of a plan, given to the machines of a cluster one by one.

A block is measured on one machine, so that its runs are compared under the same conditions. Where that machine is lost
before the block is complete, the block is begun again on another: its ok runs no longer count, and say why.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparkray.plan import PlannedRun
from sparkray.progress import Progress
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
        progress: Told of blocks that are begun again.

    Attributes:
        guard: Held while blocks change hands, and while late results are stored.
    """

    dataset: Dataset
    plan: Sequence[PlannedRun]
    todo: Sequence[PlannedRun]
    hosts: Collection[str]
    progress: Progress
    guard: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    members: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)
    waiting: dict[Key, list[PlannedRun]] = field(default_factory=dict)
    homes: dict[Key, str] = field(default_factory=dict)
    under_way: dict[str, list[PlannedRun]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members.update(self.hosts)
        for run in self.todo:
            self.waiting.setdefault(key_of(run), []).append(run)
        self.refresh()
        for host in sorted(set(self.homes.values()) - self.members):
            self._begin_again(host, [key for key, home in self.homes.items() if home == host])

    def refresh(self) -> int:
        """Read from the dataset which machines waiting blocks were begun on, and which of their runs are done.

        Returns:
            How many of those that waited are done.
        """
        with self.guard:
            wanted = {run.run_id: key_of(run) for run in self.plan if key_of(run) in self.waiting}
            rows = [row for row in self._done() if row["run_id"] in wanted]
            self.homes = {wanted[row["run_id"]]: row["host"] for row in rows}
            before = len(self.runs)
            self.drop({row["run_id"] for row in rows})
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
                own = next((key for key in self.waiting if self.homes.get(key) == host), None)
                free = next((key for key in self.waiting if key not in self.homes), None)
                if (key := own or free) is not None:
                    self.idle.discard(host)
                    self.under_way[host] = self.waiting.pop(key)
                    return list(self.under_way[host])
                if self.members <= self.idle:
                    break
                self.guard.wait(_POLL_S)
        return []

    def drop(self, run_ids: Collection[str]) -> None:
        """Runs that are not needed any more."""
        with self.guard:
            for key, runs in list(self.waiting.items()):
                self.waiting[key] = [run for run in runs if run.run_id not in run_ids]
                if not self.waiting[key]:
                    del self.waiting[key]

    def leave(self, host: str, unfinished: Iterable[PlannedRun] = (), *, lost: bool = False) -> None:
        """A machine measures no more.

        Args:
            host: The machine.
            unfinished: Runs that it was still to make.
            lost: Whether its blocks that are not complete are to be begun again elsewhere; else they stay as they are.
        """
        with self.guard:
            taken = self.under_way.pop(host, [])
            self.members.discard(host)
            self.idle.discard(host)
            if lost:
                keys = {key_of(run) for run in (*unfinished, *taken)}
                self._begin_again(host, keys | {key for key, home in self.homes.items() if home == host})
            self.guard.notify_all()

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Until everything is measured, no machine is left, or somebody asked for the end."""
        with self.guard:
            while self.members and (self.waiting or self.under_way) and not stopping():
                self.guard.wait(_POLL_S)

    def _begin_again(self, host: str, keys: Collection[Key]) -> None:
        """Put whole blocks back, for any machine; their ok runs no longer count."""
        of_block = {run.run_id: run for run in self.plan if key_of(run) in keys}
        stored = [row for row in self._done() if row["run_id"] in of_block]
        complete = self._complete(keys, {row["run_id"] for row in stored})
        for row in stored:
            if key_of(of_block[row["run_id"]]) not in complete:
                why = f"its block was not completed on {host}, and is measured again on another machine"
                self.dataset.revise(row["run_id"], row["attempt"], status="interrupted", reason=why)
                self.progress.done -= 1
        for key in keys:
            self.homes.pop(key, None)
            if key not in complete:
                self.waiting[key] = [run for run in of_block.values() if key_of(run) == key]
        again = [key for key in keys if key not in complete]
        if again:
            blocks = f"{len(again)} block{'s' * (len(again) > 1)}"
            self.progress.say(f"{blocks} of {host} will be measured on another machine")

    def _complete(self, keys: Collection[Key], done: Collection[str]) -> set[Key]:
        """Blocks of which every run is done."""
        open_ones = {key_of(run) for run in self.plan if key_of(run) in keys and run.run_id not in done}
        return {key for key in keys if key not in open_ones}
