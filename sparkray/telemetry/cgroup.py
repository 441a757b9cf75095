"""The container's cgroup (version 1 or 2): memory charged to it, OOM kills, CPU-quota throttling.

Sampled rarely: only the container arm has a cgroup, so reading it costs that arm alone (version 2 sums the counters of
every CPU at each read).

A cgroup does not see CUDA allocations on unified memory, so these columns cover host-side memory only. `anon` and
`file` mean the same in both versions; page cache is charged to the container that read the file first, and files in
tmpfs (/dev/shm) count as page cache. The total of version 2 includes kernel memory.
"""

import errno
import re
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from sparkray.runtimes.linux.cgroup import Folder, Version, locate, parse_mounts
from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base
from sparkray.telemetry._proc import PROC, OpenFile
from sparkray.units import NS_PER_S, gib

_US_PER_S = 1_000_000
_MEMORY = re.compile(r"^(anon|file|total_rss|total_cache) (\d+)$", re.MULTILINE)
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_THROTTLED = re.compile(r"^(throttled_usec|throttled_time) (\d+)$", re.MULTILINE)


def memory_row(version: Version, total: str, stat: str) -> dict[str, float | None]:
    """The three memory columns, GiB. Version 1 has separate counters that include sub-groups.

    Args:
        version: Of the hierarchy.
        total: Text of memory.current or memory.usage_in_bytes.
        stat: Text of memory.stat.
    """
    counters = {name: gib(int(value)) for name, value in _MEMORY.findall(stat)}
    anon, file = ("total_rss", "total_cache") if version == 1 else ("anon", "file")
    return {
        "cgroup_memory_gib": gib(int(total)),
        "cgroup_anon_gib": counters.get(anon),
        "cgroup_file_gib": counters.get(file),
    }


def throttled_s(stat: str) -> float | None:
    """Time throttled by a CPU quota, s, from cpu.stat; None where the controller is off."""
    match = _THROTTLED.search(stat)
    return None if match is None else int(match[2]) / (_US_PER_S if match[1] == "throttled_usec" else NS_PER_S)


def oom_kills(events: str) -> int | None:
    """OOM kills, from memory.events or version 1's memory.oom_control; None before Linux 4.13."""
    match = _OOM_KILL.search(events)
    return None if match is None else int(match[1])


_FILES: Mapping[Version, tuple[str, str, str]] = {
    1: ("memory.usage_in_bytes", "memory.stat", "memory.oom_control"),
    2: ("memory.current", "memory.stat", "memory.events"),
}


class Reader:
    """Open files of one container's cgroup."""

    def __init__(self, memory: Folder, cpu: Folder | None) -> None:
        """Open them.

        Raises:
            FileNotFoundError: The folder has no memory controller.
        """
        self._version = memory.version
        total, stat, events = (memory.path / name for name in _FILES[memory.version])
        with ExitStack() as opened:
            self._files: list[OpenFile | None] = [
                opened.enter_context(closing(OpenFile(path))) for path in (total, stat)
            ]
            for path in (events, None if cpu is None else cpu.path / "cpu.stat"):
                there = path is not None and path.exists()
                self._files.append(
                    opened.enter_context(closing(OpenFile(path))) if path is not None and there else None
                )
            self._open = opened.pop_all()

    def capture(self) -> list[bytes]:
        """Contents of the files, in the order `row` expects; empty for missing files.

        Raises:
            OSError: ENODEV when the cgroup has been removed.
        """
        return [b"" if file is None else file.raw() for file in self._files]

    def row(self, captured: list[bytes]) -> Row:
        """All cgroup columns."""
        total, stat, events, cpu = (text.decode() for text in captured)
        return {
            **memory_row(self._version, total, stat),
            "cgroup_oom_kills": oom_kills(events),
            "cgroup_throttled_s": throttled_s(cpu),
        }

    def close(self) -> None:
        """Close the files."""
        self._open.close()


class Sampler(Base):
    """Memory, OOM kills and throttling of the target's container."""

    name = "cgroup"
    period_s = 0.5

    def __init__(self, *, proc: Path = PROC) -> None:
        self._proc = proc
        self._reader: Reader | None = None

    def __exit__(self, *exc: object) -> None:
        """Close the cgroup's files."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def attach(self, target: Target) -> None:
        """Locate the cgroup of a container; other targets have no samples."""
        self.__exit__()
        self.unavailable = None
        if target.pid is None or not target.in_container:
            return
        try:
            membership = (self._proc / str(target.pid) / "cgroup").read_text(encoding="utf-8")
            mounts = parse_mounts((self._proc / "self" / "mountinfo").read_text(encoding="utf-8"))
        except (FileNotFoundError, ProcessLookupError):
            self.unavailable = f"process {target.pid} had ended before its cgroup was found"
            return
        memory, cpu = (locate(name, membership, mounts) for name in ("memory", "cpu"))
        try:
            self._reader = None if memory is None else Reader(memory, cpu)
        except FileNotFoundError:
            self._reader = None
        if self._reader is None:
            self.unavailable = f"the memory cgroup of process {target.pid} cannot be seen in this mount namespace"

    def capture(self) -> tuple[Reader, list[bytes]] | None:
        """The reader and its files' contents; None outside a container or when the cgroup has been removed."""
        try:
            return None if self._reader is None else (self._reader, self._reader.capture())
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def rows(self, captured: tuple[Reader, list[bytes]]) -> list[Row]:
        """One row."""
        reader, texts = captured
        return [reader.row(texts)]
