"""Processes as /proc shows them: one process's `stat`, and the tree that grew from a target.

psutil is not used here: it reads several files and makes several objects a process, and these are read 10 times a
second. The pure part (`parse_stat`) follows proc_pid_stat(5).
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SCAN_PERIOD_S = 0.5
"""Listing /proc costs more than reading a tree of usual size, so new children are looked for this often."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One process. Times in clock ticks, `rss` in pages, `start` in ticks since boot (with `pid` it is unique)."""

    pid: int
    state: str
    ppid: int
    session: int
    own_ticks: int
    children_ticks: int
    threads: int
    start: int
    rss: int

    @property
    def ticks(self) -> int:
        """CPU time of the process and of the children that it waited for."""
        return self.own_ticks + self.children_ticks

    @property
    def alive(self) -> bool:
        """A zombie has CPU time but neither memory nor threads."""
        return self.state not in "ZXx"


def parse_stat(pid: int, text: str) -> Stat:
    """One line of /proc/PID/stat. The name in parentheses may itself hold spaces and parentheses.

    Raises:
        ValueError: The text is no such line.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0],
        ppid=int(fields[1]),
        session=int(fields[3]),
        own_ticks=int(fields[11]) + int(fields[12]),
        children_ticks=int(fields[13]) + int(fields[14]),
        threads=int(fields[17]),
        start=int(fields[19]),
        rss=int(fields[21]),
    )


def read_small(path: str | Path, size: int = 65536) -> str:
    """The text of a file in /proc or a cgroup that fits one read: half the cost of a buffered one.

    Raises:
        OSError: It cannot be read; its process is gone, say.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, size).decode("utf-8", "replace")
    finally:
        os.close(handle)


class Tree:
    """The processes that grew from a target, followed over time.

    A process belongs to the tree when its parent does or when its session was founded in the tree (a session cannot be
    joined, so this holds for orphans too); once in, it stays until it ends.
    """

    def __init__(self, pid: int, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._clock = proc, clock
        root = self._stat(pid)
        self._members: dict[int, Stat] = {} if root is None else {pid: root}
        self._seen: set[int] = {pid}
        self._next_scan = clock()
        self.lost_ticks = 0
        """CPU time of ended members whose parent is outside the tree, so that no member's children time holds it."""

    def read(self) -> list[Stat]:
        """The members that still exist, zombies included. Empty when the tree is gone."""
        if self._members and self._clock() >= self._next_scan:
            self._scan()
        now = {pid: self._again(stat) for pid, stat in self._members.items()}
        for pid, stat in self._members.items():
            if now[pid] is None and stat.ppid not in self._members:
                self.lost_ticks += stat.ticks
        self._members = {pid: stat for pid, stat in now.items() if stat is not None}
        return list(self._members.values())

    def _scan(self) -> None:
        """Adopts the new processes that belong to the tree."""
        names = os.listdir(self._proc)  # noqa: PTH208 - a Path for every process would cost ten times as much
        pids = {int(name) for name in names if name.isdigit()}
        fresh = [stat for pid in pids - self._seen if (stat := self._stat(pid)) is not None]
        self._seen = pids
        while adopted := self._belonging(fresh):
            self._members |= adopted
            fresh = [stat for stat in fresh if stat.pid not in adopted]
        self._next_scan = self._clock() + SCAN_PERIOD_S

    def _belonging(self, candidates: Iterable[Stat]) -> dict[int, Stat]:
        members = self._members
        return {stat.pid: stat for stat in candidates if stat.ppid in members or stat.session in members}

    def _again(self, stat: Stat) -> Stat | None:
        """The same process now; None when it ended, even if its number was given to another."""
        now = self._stat(stat.pid)
        return now if now is not None and now.start == stat.start else None

    def _stat(self, pid: int) -> Stat | None:
        try:
            return parse_stat(pid, read_small(f"{self._proc}/{pid}/stat", 1024))
        except (OSError, ValueError):
            return None
