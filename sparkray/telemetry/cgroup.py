"""The container's cgroup: memory charged to it, and how long its CPU quota held it back. Versions 1 and 2.

A cgroup does not see CUDA allocations on unified memory, so this says what the container holds on the host's side only.
`anon` and `file` mean the same in both versions; page cache is charged to the container that read the file first, and
files in tmpfs (/dev/shm) count as page cache. The total of version 2 holds kernel memory too.
"""

import errno
import os.path
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base
from sparkray.telemetry._proc import PROC, read_small
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


def parse_counters(text: str) -> dict[str, int]:
    """Flat keyed numbers: memory.stat and cpu.stat of both versions."""
    rows = (line.partition(" ") for line in text.splitlines())
    return {name: int(value) for name, _, value in rows if value.isdigit()}


def _gib_or_none(count: int | None) -> float | None:
    return None if count is None else gib(count)


def read_memory(folder: Folder) -> dict[str, float | None]:
    """The three memory columns, GiB. Version 1 counts sub-groups under other names than the group's own.

    Raises:
        OSError: The cgroup is gone.
    """
    first = folder.version == 1
    total = read_small(folder.path / ("memory.usage_in_bytes" if first else "memory.current"))
    counters = parse_counters(read_small(folder.path / "memory.stat"))
    return {
        "cgroup_memory_gib": gib(int(total)),
        "cgroup_anon_gib": _gib_or_none(counters.get("total_rss" if first else "anon")),
        "cgroup_file_gib": _gib_or_none(counters.get("total_cache" if first else "file")),
    }


def read_throttled_s(folder: Folder) -> float | None:
    """Time the cgroup was held back by its CPU quota; None where the controller is not switched on.

    Raises:
        OSError: The cgroup is gone.
    """
    counters = parse_counters(read_small(folder.path / "cpu.stat"))
    key, per_s = ("throttled_time", NS_PER_S) if folder.version == 1 else ("throttled_usec", _US_PER_S)
    return counters[key] / per_s if key in counters else None


class Sampler(Base):
    """Memory and throttling of the target's container."""

    name = "cgroup"
    period_s = 0.1

    def __init__(self, *, proc: Path = PROC) -> None:
        self._proc = proc
        self._memory: Folder | None = None
        self._cpu: Folder | None = None

    def attach(self, target: Target) -> None:
        """Finds the cgroup of a target that is a container; nothing is sampled for any other."""
        self._memory = self._cpu = self.unavailable = None
        if target.pid is None or not target.in_container:
            return
        try:
            membership = (self._proc / str(target.pid) / "cgroup").read_text(encoding="utf-8")
            mounts = parse_mounts((self._proc / "self" / "mountinfo").read_text(encoding="utf-8"))
        except (FileNotFoundError, ProcessLookupError):
            self.unavailable = f"process {target.pid} had ended before its cgroup was found"
            return
        self._memory, self._cpu = (locate(name, membership, mounts) for name in ("memory", "cpu"))
        if self._memory is None or not (self._memory.path / "memory.stat").exists():
            self._memory = None
            self.unavailable = f"the memory cgroup of process {target.pid} cannot be seen in this mount namespace"

    def sample(self) -> list[Row]:
        """One row; none outside a container or when the cgroup is gone."""
        if self._memory is None:
            return []
        try:
            row = read_memory(self._memory)
            return [{**row, "cgroup_throttled_s": None if self._cpu is None else read_throttled_s(self._cpu)}]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return []
            raise
