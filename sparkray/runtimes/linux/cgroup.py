"""The cgroup of a process: where it lies, and what it allows. Versions 1 and 2; the parsing is pure.

A limit holds for everything below the group that has it, so that what a process may use is the least of its own group's
limit and of those above, as far up as this mount namespace shows them (kernel documentation, cgroup-v1 and cgroup-v2).
"""

import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Version = Literal[1, 2]
UNLIMITED = -1
# Version 1 has `unlimited` as the largest number of whole pages that fits; whatever the page, it is above this.
_NEVER = 1 << 62
_HUGETLB = re.compile(r"hugetlb\.(?P<size>[^.]+)\.(limit_in_bytes|max)")


@dataclass(frozen=True)
class Mount:
    """A mounted cgroup hierarchy. `controllers` is empty for version 2, whose folders list their own."""

    version: Version
    controllers: frozenset[str]
    root: str
    point: str


@dataclass(frozen=True)
class Folder:
    """Where one controller of one process is found."""

    version: Version
    path: Path


def unescaped(text: str) -> str:
    """A path of mountinfo, where space, tab, newline and backslash stand as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The cgroup hierarchies in /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    mounts = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        match [*before.split()[:5], *after.split()]:
            case [_, _, _, root, point, "cgroup", _, options, *_]:
                mounts.append(Mount(1, frozenset(options.split(",")), unescaped(root), unescaped(point)))
            case [_, _, _, root, point, "cgroup2", *_]:
                mounts.append(Mount(2, frozenset(), unescaped(root), unescaped(point)))
            case _:
                continue
    return mounts


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


def limits(membership: str, mounts: Sequence[Mount]) -> dict[str, Any]:
    """What the cgroups of a process allow it; -1 for no limit, and nothing where the group cannot be seen.

    Args:
        membership: Text of /proc/PID/cgroup.
        mounts: What `parse_mounts` found in the reader's own mountinfo.

    Returns:
        `memory_bytes`; `memory_swap_bytes`, memory and swap together as Docker counts them, where the kernel accounts
        swap; `cpus`, CPU seconds per second by CFS quota; `cpuset`, the effective CPUs as a list (`0-3`); `pids`;
        `hugetlb_bytes` by page size; and of the group's own `cpu_shares` (version 1) or `cpu_weight` (version 2).
    """
    readers: dict[str, tuple[str, Callable[[Version, Sequence[Path]], Any]]] = {
        "memory_bytes": ("memory", _memory),
        "memory_swap_bytes": ("memory", _memory_swap),
        "cpus": ("cpu", _cpus),
        "cpu_shares": ("cpu", lambda version, groups: _number(groups[0] / "cpu.shares") if version == 1 else None),
        "cpu_weight": ("cpu", lambda version, groups: _number(groups[0] / "cpu.weight") if version == 2 else None),  # noqa: PLR2004 - the version
        "cpuset": ("cpuset", _cpuset),
        "pids": ("pids", lambda _, groups: _least(_number(group / "pids.max") for group in groups)),
        "hugetlb_bytes": ("hugetlb", _hugetlb),
    }
    values: dict[str, Any] = {}
    for name, (controller, read) in readers.items():
        folder = locate(controller, membership, mounts)
        if folder is None or not folder.path.is_dir():
            continue
        with suppress(OSError, ValueError, ZeroDivisionError):
            value = read(folder.version, list(_upwards(folder.path)))
            if value is not None and value != {}:
                values[name] = value
    return values


def _upwards(path: Path) -> Iterator[Path]:
    """A group and those above it, up to the mount's own."""
    yield path
    while (path.parent / "cgroup.procs").exists():
        path = path.parent
        yield path


def _text(path: Path) -> str | None:
    """None where there is no such file: a group without the controller sets no limit."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    if text is None:
        return None
    value = UNLIMITED if text == "max" else int(text)
    return UNLIMITED if value >= _NEVER else value


def _least(values: Iterable[float | None]) -> float:
    return min((value for value in values if value is not None and value != UNLIMITED), default=UNLIMITED)


def _memory(version: Version, groups: Sequence[Path]) -> float:
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    return _least(_number(group / name) for group in groups)


def _memory_swap(version: Version, groups: Sequence[Path]) -> float | None:
    """None where swap is not accounted, so that there is no such file anywhere."""
    if version == 1:
        values = [_number(group / "memory.memsw.limit_in_bytes") for group in groups]
    else:
        values = [_both(_number(group / "memory.max"), _number(group / "memory.swap.max")) for group in groups]
    return None if all(value is None for value in values) else _least(values)


def _both(memory: int | None, swap: int | None) -> int | None:
    if swap is None or memory is None:
        return None
    return UNLIMITED if UNLIMITED in (memory, swap) else memory + swap


def _cpus(version: Version, groups: Sequence[Path]) -> float:
    return _least(_quota(version, group) for group in groups)


def _quota(version: Version, group: Path) -> float | None:
    if version == 1:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    else:
        quota, _, period = (_text(group / "cpu.max") or "").partition(" ")
    if not quota or not period:
        return None
    return UNLIMITED if quota in ("max", "-1") else int(quota) / int(period)


def _cpuset(version: Version, groups: Sequence[Path]) -> str | None:
    """The kernel's own answer for the nearest group that has the controller: it knows those above."""
    name = "cpuset.effective_cpus" if version == 1 else "cpuset.cpus.effective"
    return next((text for group in groups if (text := _text(group / name))), None)


def _hugetlb(_: Version, groups: Sequence[Path]) -> dict[str, float]:
    """Limits by page size (`2MB`, `1GB`); reservations apart."""
    sizes: dict[str, list[int | None]] = {}
    for group in groups:
        for path in sorted(group.glob("hugetlb.*")):
            if match := _HUGETLB.fullmatch(path.name):
                sizes.setdefault(match["size"], []).append(_number(path))
    return {size: _least(values) for size, values in sizes.items()}
