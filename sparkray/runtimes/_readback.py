"""What a process really got, read from outside through /proc: alike in every arm, and for every engine.

Fields that may not be read are absent. Nothing here asks the container what it thinks: it looks.
"""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparkray.runtimes import INSIDE

_LIMIT = re.compile(r"^Max (?P<name>.+?)\s{2,}(?P<soft>\S+)\s+(?P<hard>\S+)", re.MULTILINE)
_LIMIT_NAMES = {
    "cpu time": "cpu",
    "file size": "fsize",
    "data size": "data",
    "stack size": "stack",
    "core file size": "core",
    "resident set": "rss",
    "processes": "nproc",
    "open files": "nofile",
    "locked memory": "memlock",
    "address space": "as",
    "file locks": "locks",
    "pending signals": "sigpending",
    "msgqueue size": "msgqueue",
    "nice priority": "nice",
    "realtime priority": "rtprio",
    "realtime timeout": "rttime",
}
_NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")
_INTERPRETERS_OWN = 1 << 12 | 1 << 24
"""SIGPIPE and SIGXFSZ, which CPython ignores for itself as it starts."""
_STATUS_FIELDS = {
    "CapEff": "capabilities",
    "CapBnd": "capabilities_bounding",
    "Seccomp": "seccomp",
    "NoNewPrivs": "no_new_privs",
    "SigBlk": "signals_blocked",
    "SigIgn": "signals_ignored",
    "Cpus_allowed_list": "cpus_allowed",
}


def effective_state(pid: int, proc: Path = Path("/proc")) -> dict[str, Any]:
    """The state of a process: nice, OOM score, limits, environment, namespaces, capabilities, cgroups, mounts, shm.

    `namespaces` maps each kind to `host` or `own`. Sizes in bytes. Of a process that is gone there is nothing.
    """
    here = proc / str(pid)
    if not here.is_dir():
        return {}
    readers: Mapping[str, Callable[[], Any]] = {
        "nice": lambda: int(_stat_fields(here)[16]),
        "oom_score_adj": lambda: int((here / "oom_score_adj").read_text()),
        "rlimits": lambda: parse_limits((here / "limits").read_text()),
        "environment": lambda: parse_environment((here / "environ").read_bytes()),
        "namespaces": lambda: _namespaces(here, proc),
        "cgroups": lambda: (here / "cgroup").read_text().split(),
        "apparmor": lambda: (here / "attr/current").read_text().strip("\0\n ") or None,
        "shm_bytes": lambda: _filesystem_bytes(here / "root/dev/shm"),
        "rootfs": lambda: _mount_of(here, "/"),
        "model_filesystem": lambda: _mount_of(here, f"{INSIDE}/model"),
    }
    state: dict[str, Any] = {}
    for name, read in readers.items():
        with suppress(OSError, ValueError, IndexError):
            state[name] = read()
    with suppress(OSError):
        state.update(parse_status((here / "status").read_text()))
    return state


def _stat_fields(here: Path) -> list[str]:
    """Fields of stat from the third on (index 0 is the state), safe against parentheses in the name."""
    return (here / "stat").read_text().rpartition(")")[2].split()


def parse_limits(text: str) -> dict[str, tuple[int, int]]:
    """(soft, hard) by name as `StartState.rlimits` has them, from the text of /proc/PID/limits."""
    limits = {}
    for match in _LIMIT.finditer(text):
        name = _LIMIT_NAMES.get(match["name"])
        if name is not None:
            limits[name] = (_limit(match["soft"]), _limit(match["hard"]))
    return limits


def _limit(text: str) -> int:
    return -1 if text == "unlimited" else int(text)


def parse_environment(data: bytes) -> dict[str, str]:
    """Variables from the bytes of /proc/PID/environ."""
    pairs = (item.decode(errors="replace").partition("=") for item in data.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in sorted(pairs)}


def parse_status(text: str) -> dict[str, str]:
    """The fields of /proc/PID/status that tell isolation."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in _STATUS_FIELDS:
            found[_STATUS_FIELDS[name]] = value.strip()
    return found


def _namespaces(here: Path, proc: Path) -> dict[str, str]:
    """Each namespace against sparkray's own: PID 1's may not be read on every host."""
    kinds = {}
    for kind in _NAMESPACES:
        with suppress(OSError):
            own, ours = (here / "ns" / kind).readlink(), (proc / "self/ns" / kind).readlink()
            kinds[kind] = "host" if own == ours else "own"
    return kinds


def _filesystem_bytes(path: Path) -> int:
    size = os.statvfs(path)
    return size.f_blocks * size.f_frsize


def _mount_of(here: Path, target: str) -> str | None:
    """File system type of the last mount on a target or below it, from mountinfo."""
    kind = None
    for line in (here / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        if place == target or (target != "/" and place.startswith(f"{target}/")):
            kind = after.split()[0]
    return kind


def differences(declared: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """Where a process does not have the start state that was declared for it, in words.

    Only what was declared is compared; a field that could not be read back counts as a difference, since a number that
    cannot be checked is not believed.
    """
    wrong = [
        f"{name} is {effective.get(name)!r}, declared {declared[name]!r}"
        for name in ("nice", "oom_score_adj")
        if effective.get(name) != declared[name]
    ]
    limits = effective.get("rlimits", {})
    wrong += [
        f"rlimit {name} is {limits.get(name)}, declared {tuple(value)}"
        for name, value in declared["rlimits"].items()
        if tuple(limits.get(name, ())) != tuple(value)
    ]
    for name in ("signals_blocked", "signals_ignored"):
        mask = effective.get(name)
        if mask is not None and int(mask, 16) & ~_INTERPRETERS_OWN:
            wrong.append(f"{name.replace('_', ' ')} are {mask}, declared none")
    return wrong
