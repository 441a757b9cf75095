"""Processes in /proc: the `stat` of one process, and a target's process tree.

psutil opens several files per process, too slow at 10 Hz. `parse_stat` follows proc_pid_stat(5).
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# Time between two readings of CPU time, s.
CPU_PERIOD_S = 0.2
# Share of the period after which a tick counts as due, so that an early tick is not skipped.
EARLY = 0.9
# Listing /proc costs more than reading a typical tree, so new children are searched for at most this often.
SCAN_PERIOD_S = 1.0

# Those of /proc/PID/stat after the name, up to the resident size.
_FIELDS = 22


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
        """CPU time of the process and of the children it waited for."""
        return self.own_ticks + self.children_ticks

    @property
    def alive(self) -> bool:
        """False for a zombie, which has CPU time but neither memory nor threads."""
        return self.state not in "ZXx"


def parse_stat(pid: int, text: str) -> Stat:
    """Parse /proc/PID/stat. The name in parentheses may itself hold spaces and parentheses.

    Raises:
        ValueError: The text is not such a line.
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
    """Text of a file in /proc or a cgroup in one read, at half the cost of a buffered one.

    Raises:
        OSError: It cannot be read, for example because its process has ended.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, size).decode("utf-8", "replace")
    finally:
        os.close(handle)


class OpenFile:
    """A file in /proc or a cgroup that stays open: a sample is one system call, always of the same subject."""

    def __init__(self, path: str | Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def raw(self, size: int = 65536) -> bytes:
        """Current content as bytes.

        Raises:
            OSError: Its subject is gone: ESRCH for a process, ENODEV for a cgroup.
        """
        return os.pread(self._handle, size, 0)

    def read(self, size: int = 65536) -> str:
        """Current content as text.

        Raises:
            OSError: As for `raw`.
        """
        return self.raw(size).decode("utf-8", "replace")

    def close(self) -> None:
        """Close the file; call once."""
        os.close(self._handle)


def newest_pid(proc: Path) -> str | None:
    """The most recently created process or thread (proc_loadavg(5)); None where it is not reported.

    While it is unchanged, nobody has forked, so no scan for new processes is needed.
    """
    try:
        return read_small(f"{proc}/loadavg", 128).split()[-1]
    except (OSError, IndexError):
        return None


def read_stat(pid: int, proc: Path = PROC) -> Stat | None:
    """The `stat` of a process; None when it has ended or is hidden."""
    try:
        return parse_stat(pid, read_small(f"{proc}/{pid}/stat", 1024))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


class Tree:
    """The process tree of a target, followed over time.

    A process belongs to the tree when its parent does, or when its session was founded in the tree (which finds
    orphans: no process can join an existing session). It stays until it ends.
    """

    def __init__(self, pid: int, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._clock = proc, clock
        self._files: dict[int, OpenFile] = {}
        self._sizes: dict[int, OpenFile] = {}
        self._members: dict[int, bytes] = {}
        self._listed: set[str] = set()
        self._newest: str | None = None
        self._next_scan = clock()
        # CPU time of ended members whose parent is outside the tree: no member's children time includes it.
        self.lost_ticks = 0
        self._add(pid)

    def read(self) -> list[Stat]:
        """Members that still exist, zombies included; empty when the tree has ended."""
        return [parse_stat(pid, text.decode("utf-8", "replace")) for pid, text in self.texts()]

    def texts(self) -> list[tuple[int, bytes]]:
        """(PID, line of /proc/PID/stat) of the members, for later parsing."""
        if self._members and self._clock() >= self._next_scan:
            self._scan()
        now: dict[int, bytes] = {}
        for pid, file in self._files.items():
            # An open file stays with its process even when the PID is reused.
            with contextlib.suppress(ProcessLookupError):
                now[pid] = file.raw(1024)
        for pid in self._members.keys() - now:
            gone = parse_stat(pid, self._members[pid].decode("utf-8", "replace"))
            self._release(pid)
            if gone.ppid not in self._members:
                self.lost_ticks += gone.ticks
        self._members = now
        return list(now.items())

    def sizes(self) -> list[bytes]:
        """/proc/PID/statm of the members that still exist, zombies included."""
        texts = []
        for pid in self._members:
            try:
                if (file := self._sizes.get(pid)) is None:
                    file = self._sizes[pid] = OpenFile(f"{self._proc}/{pid}/statm")
                texts.append(file.raw(128))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return texts

    def close(self) -> None:
        """Close the files. The tree reads as empty from then on."""
        for pid in list(self._files):
            self._release(pid)
        self._members = {}

    def _release(self, pid: int) -> None:
        for files in (self._files, self._sizes):
            if (file := files.pop(pid, None)) is not None:
                file.close()

    def _scan(self) -> None:
        """Add new processes that belong to the tree."""
        self._next_scan = self._clock() + SCAN_PERIOD_S
        newest = newest_pid(self._proc)
        if newest is not None and newest == self._newest:
            return
        self._newest = newest
        names = set(os.listdir(self._proc))  # noqa: PTH208 - a Path for each would cost ten times as much
        pids = [int(name) for name in names - self._listed if name.isdigit()]
        fresh = [stat for pid in pids if (stat := read_stat(pid, self._proc)) is not None]
        self._listed = names
        while members := [stat for stat in fresh if self._belongs(stat)]:
            for stat in members:
                self._add(stat.pid)
            fresh = [stat for stat in fresh if stat not in members]

    def _belongs(self, stat: Stat) -> bool:
        return stat.pid not in self._members and (stat.ppid in self._members or stat.session in self._members)

    def _add(self, pid: int) -> None:
        """Add a process, unless it has ended meanwhile."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self._files[pid] = OpenFile(f"{self._proc}/{pid}/stat")
            self._members[pid] = self._files[pid].raw(1024)
