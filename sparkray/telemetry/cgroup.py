"""The container's cgroup: memory charged to it, and how long its CPU quota held it back. Versions 1 and 2.

A cgroup does not see CUDA allocations on unified memory, so this says what the container holds on the host's side only.
`anon` and `file` mean the same in both versions; page cache is charged to the container that read the file first, and
files in tmpfs (/dev/shm) count as page cache. The total of version 2 holds kernel memory too.
"""

import errno
import os.path
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base
from sparkray.telemetry._proc import PROC, Kept
from sparkray.units import NS_PER_S, gib

Version = Literal[1, 2]
_US_PER_S = 1_000_000


@dataclass(frozen=True)
class Mount:
    """A mounted cgroup hierarchy. `controllers` is empty for version 2, whose folders say themselves what they have."""

    version: Version
    controllers: frozenset[str]
    root: str
    point: str


@dataclass(frozen=True)
class Folder:
    """Where one controller of one process is found."""

    version: Version
    path: Path


def _unescaped(text: str) -> str:
    """A path of mountinfo, where space, tab, newline and backslash stand as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The cgroup hierarchies in /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        match [*before.split()[:5], *after.split()]:
            case [_, _, _, root, point, "cgroup", _, options, *_]:
                found.append(Mount(1, frozenset(options.split(",")), _unescaped(root), _unescaped(point)))
            case [_, _, _, root, point, "cgroup2", *_]:
                found.append(Mount(2, frozenset(), _unescaped(root), _unescaped(point)))
            case _:
                continue
    return found


def parse_membership(text: str) -> Iterator[tuple[frozenset[str], str]]:
    """Controllers and path of each line in /proc/PID/cgroup (cgroups(7)); no controllers: version 2."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield frozenset(controllers.split(",")) - {""}, path


def locate(controller: str, membership: str, mounts: Iterable[Mount]) -> Folder | None:
    """Where a process's numbers of one controller lie; None where this mount namespace does not show them.

    A controller belongs to one hierarchy only: to a version 1 mount if there is one, else to version 2.

    Args:
        controller: `memory`, `cpu`.
        membership: Text of /proc/PID/cgroup.
        mounts: What `parse_mounts` found in the reader's own mountinfo.
    """
    lines = list(parse_membership(membership))
    for mount in sorted(mounts, key=lambda mount: mount.version):
        wanted = controller if mount.version == 1 else None
        if wanted is not None and wanted not in mount.controllers:
            continue
        for controllers, path in lines:
            if (wanted in controllers if wanted else not controllers) and (place := _under(mount, path)):
                return Folder(mount.version, place)
    return None


def _under(mount: Mount, path: str) -> Path | None:
    """The folder of a cgroup path; None for a path outside the mount's root (`/../x`: outside our namespace)."""
    relative = os.path.relpath(path, mount.root)
    return None if relative.startswith("..") or path.startswith("/..") else Path(mount.point) / relative


_MEMORY = re.compile(r"^(anon|file|total_rss|total_cache) (\d+)$", re.MULTILINE)
_THROTTLED = re.compile(r"^(throttled_usec|throttled_time) (\d+)$", re.MULTILINE)


def memory_row(version: Version, total: str, stat: str) -> dict[str, float | None]:
    """The three memory columns, GiB. Version 1 counts sub-groups under other names than the group's own.

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
    """Time a CPU quota held the cgroup back, from cpu.stat; None where the controller is not switched on."""
    match = _THROTTLED.search(stat)
    return None if match is None else int(match[2]) / (_US_PER_S if match[1] == "throttled_usec" else NS_PER_S)


class Reader:
    """The open files of one container's cgroup."""

    def __init__(self, memory: Folder, cpu: Folder | None) -> None:
        """Opens them.

        Raises:
            FileNotFoundError: There is no memory controller in that folder.
        """
        self._version = memory.version
        with ExitStack() as opened:
            total = "memory.usage_in_bytes" if memory.version == 1 else "memory.current"
            self._total = opened.enter_context(closing(Kept(memory.path / total)))
            self._stat = opened.enter_context(closing(Kept(memory.path / "memory.stat")))
            self._cpu: Kept | None = None
            if cpu is not None and (cpu.path / "cpu.stat").exists():
                self._cpu = opened.enter_context(closing(Kept(cpu.path / "cpu.stat")))
            self._open = opened.pop_all()

    def read(self) -> Row:
        """All columns of the room.

        Raises:
            OSError: ENODEV when the cgroup is gone.
        """
        throttled = None if self._cpu is None else throttled_s(self._cpu.read())
        return {
            **memory_row(self._version, self._total.read(), self._stat.read()),
            "cgroup_throttled_s": throttled,
        }

    def close(self) -> None:
        """Closes the files."""
        self._open.close()


class Sampler(Base):
    """Memory and throttling of the target's container."""

    name = "cgroup"
    period_s = 0.1

    def __init__(self, *, proc: Path = PROC) -> None:
        self._proc = proc
        self._reader: Reader | None = None

    def __exit__(self, *exc: object) -> None:
        """Lets go of the cgroup's files."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def attach(self, target: Target) -> None:
        """Finds the cgroup of a target that is a container; nothing is sampled for any other."""
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

    def sample(self) -> list[Row]:
        """One row; none outside a container or when the cgroup is gone."""
        try:
            return [] if self._reader is None else [self._reader.read()]
        except OSError as error:
            if error.errno == errno.ENODEV:
                return []
            raise
