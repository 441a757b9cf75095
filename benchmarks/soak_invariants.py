"""What must hold in a dataset that was written under faults, checked from its files alone."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sparkray.store.parquet import rows_of
from sparkray.store.tables import TABLES
from sparkray.units import NS_PER_S

Key = tuple[str, int]
# What clocks may differ by, and what a sampler may take before a start and after an end, s.
_SLACK_S, _AROUND_S = 0.25, 60.0
_KEPT = ("block", "environment", "status", "started_at", "ended_at", "requests_planned", "log_sha256")


@dataclass
class Attempt:
    """What is kept of one attempt: some columns of its row, seconds since the epoch of its samples, how many requests."""

    row: Mapping[str, Any]
    sampled: tuple[float, float] | None = None
    requested: tuple[float, float] | None = None
    requests: int = 0


@dataclass
class Invariants:
    """The dataset as far as it was read.

    Attributes:
        arms: Environments of the plan.
        warm_ups: Requests of each run that are not counted.
        attempts: By run and number.
        ok: Runs that are ok.
        refused: Runs that were ok until a later one showed that they were not sound.
        wrong: What does not hold.
    """

    path: Path
    arms: tuple[str, ...]
    warm_ups: int
    attempts: dict[Key, Attempt] = field(default_factory=dict)
    ok: set[str] = field(default_factory=set)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    _read: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _rows: dict[tuple[str, Key], list[dict[str, Any]]] = field(default_factory=dict)

    def check(self) -> None:
        """What must hold after every sweep. Raises DatasetError where a file cannot be read."""
        if not (self.path / "runs").is_dir():
            return
        self._read_new()
        self._check_runs()
        self._check_times()

    def _read_new(self) -> None:
        """Read every file that is new or was replaced, whole; rows of runs first, since the others belong to them."""
        fresh: list[Key] = []
        for table in ("runs", *(name for name in TABLES if name != "runs")):
            for path in sorted((self.path / table).glob("*.parquet")):
                found = path.stat()
                if self._read.get(path) == (stamp := (found.st_ino, found.st_mtime_ns)):
                    continue
                rows, key = rows_of(path, table), key_of(path)
                self._read[path] = stamp
                if table == "runs":
                    self._take_row(key, rows)
                    fresh.append(key)
                else:
                    self._take(table, path, key, rows)
        for key in fresh:
            self._check_attempt(key)

    def _take_row(self, key: Key, rows: list[dict[str, Any]]) -> None:
        if [(row["run_id"], row["attempt"]) for row in rows] != [key]:
            self.wrong.append(f"the file of {key} holds rows of another run")
            return
        known = self.attempts.get(key, Attempt({}))
        known.row = {name: rows[0][name] for name in _KEPT}
        self.attempts[key] = known

    def _take(self, table: str, path: Path, key: Key, rows: list[dict[str, Any]]) -> None:
        attempt = self.attempts.get(key)
        if attempt is None:
            self.wrong.append(f"{table} without a run: {path.name}")
            return
        if any((row["run_id"], row["attempt"]) != key for row in rows):
            self.wrong.append(f"{table} of another run in {path.name}")
        if table == "samples":
            attempt.sampled = span(row["t_ns"] for row in rows)
        elif table == "requests":
            attempt.requests = len(rows)
            attempt.requested = span(t for row in rows for t in (row["submit_ns"], row["end_ns"]))

    def _check_attempt(self, key: Key) -> None:
        """Samples and requests were taken while the attempt went on, and an ok one has all that it must have."""
        attempt = self.attempts[key]
        row, name = attempt.row, f"{key[0]}, attempt {key[1]}"
        if row["ended_at"] is not None:
            began, ended = row["started_at"].timestamp(), row["ended_at"].timestamp()
            if attempt.requested and not within(attempt.requested, began - _SLACK_S, ended + _SLACK_S):
                self.wrong.append(f"{name} has requests of another time")
            if attempt.sampled and not within(attempt.sampled, began - _AROUND_S, ended + _AROUND_S):
                self.wrong.append(f"{name} has samples of another time")
        if row["status"] != "ok":
            return
        log = self.path / "logs" / f"{key[0]}-{key[1]}.log"
        if not log.is_file() or hashlib.sha256(log.read_bytes()).hexdigest() != row["log_sha256"]:
            self.wrong.append(f"{name} is ok without its log")
        if attempt.requests != row["requests_planned"] + self.warm_ups:
            self.wrong.append(f"{name} is ok with {attempt.requests} requests")
        if attempt.sampled is None:
            self.wrong.append(f"{name} is ok without samples")

    def _check_runs(self) -> None:
        """No run is ok twice, none that was ok is gone, and the attempts at a run are numbered from 1 without a gap."""
        ok = Counter(run_id for (run_id, _), attempt in self.attempts.items() if attempt.row["status"] == "ok")
        self.wrong += [f"{run_id} is ok {count} times" for run_id, count in ok.items() if count > 1]
        invalid = {run_id for (run_id, _), attempt in self.attempts.items() if attempt.row["status"] == "invalid"}
        gone = self.ok - set(ok)
        self.refused += len(gone & invalid)  # a later run showed that they were not sound, which is measured again
        self.wrong += [f"{run_id} was ok and is gone" for run_id in gone - invalid]
        self.ok = set(ok)
        last, count = dict[str, int](), Counter(run_id for run_id, _ in self.attempts)
        for run_id, number in self.attempts:
            last[run_id] = max(last.get(run_id, 0), number)
        self.wrong += [
            f"attempts at {run_id} are not numbered 1 to {n}" for run_id, n in last.items() if n != count[run_id]
        ]

    def _check_times(self) -> None:
        """One attempt at a time: the samples of one end before those of the next begin, and so do engines."""
        sampled = [(attempt.sampled, key) for key, attempt in self.attempts.items() if attempt.sampled]
        ran = [
            ((attempt.row["started_at"].timestamp(), attempt.row["ended_at"].timestamp()), key)
            for key, attempt in self.attempts.items()
            if attempt.row["ended_at"] is not None
        ]
        for what, spans in (("samples", sampled), ("runs", ran)):
            in_order = sorted(spans)
            for (before, one), (after, other) in pairwise(in_order):
                if before[1] > after[0]:
                    self.wrong.append(f"{what} of {one} and {other} overlap by {before[1] - after[0]:.3f} s")

    def left(self, blocks: int) -> tuple[int, int]:
        """How many runs of a plan are not ok, and how many of those were not tried since they were planned."""
        pairs = {(arm, block) for arm in self.arms for block in range(blocks)}
        tried = {(a.row["environment"], a.row["block"]) for a in self.attempts.values()}
        return len(pairs - self._ok_pairs().keys()), len(pairs - tried)

    def _ok_pairs(self) -> Counter[tuple[str, int]]:
        rows = (attempt.row for attempt in self.attempts.values())
        return Counter((row["environment"], row["block"]) for row in rows if row["status"] == "ok")

    def check_plan(self, blocks: int) -> None:
        """The dataset equals the plan: every arm of every block is ok exactly once, and nothing else is."""
        planned = Counter((arm, block) for arm in self.arms for block in range(blocks))
        if (found := self._ok_pairs()) != planned:
            missing, more = planned - found, found - planned
            self.wrong.append(
                f"the dataset is not the plan: {missing.total()} runs are missing, {more.total()} too many"
            )

    def by_status(self) -> dict[str, int]:
        """Attempts by status."""
        return dict(Counter(attempt.row["status"] for attempt in self.attempts.values()).most_common())


def key_of(path: Path) -> Key:
    """Run and attempt of a file's name."""
    run_id, _, number = path.stem.removesuffix("-late").rpartition("-")
    return run_id, int(number)


def span(times_ns: Any) -> tuple[float, float] | None:  # noqa: ANN401 - an iterable of ints, or of none
    """First and last of some times of the monotonic clock, as seconds since the epoch."""
    known = [t for t in times_ns if t is not None]
    offset = time.time_ns() - time.monotonic_ns()
    return ((min(known) + offset) / NS_PER_S, (max(known) + offset) / NS_PER_S) if known else None


def within(times: tuple[float, float], first: float, last: float) -> bool:
    """Whether a span lies within another."""
    return first <= times[0] and times[1] <= last
