"""Processes as /proc shows them: one process's `stat`, and the tree that grew from a target.

psutil is not used here: it reads several files and makes several objects a process, and these are read 10 times a
second. The pure part (`parse_stat`) follows proc_pid_stat(5).
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
SCAN_PERIOD_S = 1.0
"""Listing /proc costs more than reading a tree of usual size, so new children are looked for this often."""

_FIELDS = 22
"""Those of /proc/PID/stat after the name, up to the resident size."""


class Stat(NamedTuple):
    """One process. Times in clock ticks, `rss` in pages."""

    pid: int
    state: str
    ppid: int
    session: int
    own_ticks: int
    children_ticks: int
    threads: int
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
    fields = text[text.rindex(")") + 2 :].split(maxsplit=_FIELDS)
    if len(fields) < _FIELDS:
        raise ValueError(f"{len(fields)} fields after the name in /proc/{pid}/stat, not {_FIELDS}")
    return Stat(
        pid=pid,
        state=fields[0],
        ppid=int(fields[1]),
        session=int(fields[3]),
        own_ticks=int(fields[11]) + int(fields[12]),
        children_ticks=int(fields[13]) + int(fields[14]),
        threads=int(fields[17]),
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


class Kept:
    """A file in /proc or a cgroup that stays open: a sample is one system call, always of the same thing."""

    def __init__(self, path: str | Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int = 65536) -> str:
        """What the file says now.

        Raises:
            OSError: What it spoke of is gone: ESRCH for a process, ENODEV for a cgroup.
        """
        return os.pread(self._handle, size, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Once only."""
        os.close(self._handle)


class Tree:
    """The processes that grew from a target, followed over time.

    A process belongs to the tree when its parent does or when its session was founded in the tree (a session cannot be
    joined, so this holds for orphans too); once in, it stays until it ends.
    """

    def __init__(self, pid: int, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._clock = proc, clock
        self._files: dict[int, Kept] = {}
        self._members: dict[int, Stat] = {}
        self._seen: set[str] = set()
        self._next_scan = clock()
        self.lost_ticks = 0
        """CPU time of ended members whose parent is outside the tree, so that no member's children time holds it."""
        if (root := self._look(pid)) is not None:
            self._adopt(root)

    def read(self) -> list[Stat]:
        """The members that still exist, zombies included. Empty when the tree is gone."""
        if self._members and self._clock() >= self._next_scan:
            self._scan()
        now = {pid: stat for pid, file in self._files.items() if (stat := _answer(pid, file)) is not None}
        for pid in self._members.keys() - now:
            gone = self._members[pid]
            self._files.pop(pid).close()
            if gone.ppid not in self._members:
                self.lost_ticks += gone.ticks
        self._members = now
        return list(now.values())

    def close(self) -> None:
        """Lets go of the files. The tree reads as empty from then on."""
        while self._files:
            self._files.popitem()[1].close()
        self._members = {}

    def _scan(self) -> None:
        """Adopts the new processes that belong to the tree."""
        names = set(os.listdir(self._proc))  # noqa: PTH208 - a Path for each would cost ten times as much
        pids = [int(name) for name in names - self._seen if name.isdigit()]
        fresh = [stat for pid in pids if (stat := self._look(pid)) is not None]
        self._seen = names
        while found := [stat for stat in fresh if self._belongs(stat)]:
            for stat in found:
                self._adopt(stat)
            fresh = [stat for stat in fresh if stat not in found]
        self._next_scan = self._clock() + SCAN_PERIOD_S

    def _belongs(self, stat: Stat) -> bool:
        return stat.pid not in self._members and (stat.ppid in self._members or stat.session in self._members)

    def _look(self, pid: int) -> Stat | None:
        """The process now; None when it has ended or is hidden."""
        try:
            return parse_stat(pid, read_small(f"{self._proc}/{pid}/stat", 1024))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None

    def _adopt(self, stat: Stat) -> None:
        """Takes a process in, even one that ends meanwhile: the next reading finds that out."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self._files[stat.pid] = Kept(f"{self._proc}/{stat.pid}/stat")
            self._members[stat.pid] = stat


def _answer(pid: int, file: Kept) -> Stat | None:
    """The process now; None when it has ended, even if its number was given to another since."""
    try:
        return parse_stat(pid, file.read(1024))
    except ProcessLookupError:
        return None
