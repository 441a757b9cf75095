"""What a process really got, read from outside through /proc: alike in every arm, and for every engine.

Fields that may not be read are absent. Nothing is asked of the container.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sparkray.config.cpu_list import cpu_list
from sparkray.config.docker import kernel_reads
from sparkray.runtimes import INSIDE
from sparkray.runtimes.linux.cgroup import limits, locate, parse_mounts, unescaped
from sparkray.runtimes.linux.owner import VARIABLE as OWNER

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
# SIGPIPE and SIGXFSZ, which CPython ignores for itself as it starts.
_INTERPRETERS_OWN = 1 << 12 | 1 << 24
_STATUS_FIELDS = {
    "CapEff": "capabilities",
    "CapBnd": "capabilities_bounding",
    "Seccomp": "seccomp",
    "NoNewPrivs": "no_new_privs",
    "SigBlk": "signals_blocked",
    "SigIgn": "signals_ignored",
    "Cpus_allowed_list": "cpus_allowed",
    "Umask": "umask",
}


class Mounted(NamedTuple):
    """One mount as a process sees it: where, what kind, from which device or other source, and whether to be read only."""

    place: str
    kind: str
    source: str
    read_only: bool


def effective_state(pid: int, proc: Path = Path("/proc")) -> dict[str, Any]:
    """The state of a process: nice, OOM score, limits, environment, namespaces, capabilities, cgroups, mounts, network.

    `namespaces` maps each kind to `host` or `own`; `cgroup_limits` is the result of `cgroup.limits`; `pid_inside` is the
    process's number in its own PID namespace; `model_*` are of the mount that the model lies on and None where it has
    none; `kernel` has the values that Docker options declare by their address (`config.trace`), as text. Sizes in bytes, -1
    for unlimited, CPUs as lists (`0-3`). Of a process that is gone there is nothing.
    """
    here = proc / str(pid)
    if not here.is_dir():
        return {}
    readers: Mapping[str, Callable[[], Any]] = {
        "nice": lambda: int(_stat_fields(here)[16]),
        "oom_score_adj": lambda: int((here / "oom_score_adj").read_text()),
        "rlimits": lambda: parse_limits((here / "limits").read_text()),
        "environment": lambda: _environment(here),
        "namespaces": lambda: _namespaces(here, proc),
        "cgroups": lambda: (here / "cgroup").read_text().split(),
        "cgroup_limits": lambda: _cgroup_limits(here, proc),
        "apparmor": lambda: (here / "attr/current").read_text().strip("\0\n ") or None,
        "shm_bytes": lambda: _filesystem_bytes(here / "root/dev/shm"),
        "interfaces": lambda: parse_interfaces((here / "net/dev").read_text()),
        "pid_inside": lambda: parse_pid_inside((here / "status").read_text()),
        "cpus_online": lambda: parse_online((proc / "stat").read_text()),
    }
    state: dict[str, Any] = {}
    for name, read in readers.items():
        with suppress(OSError, ValueError, IndexError):
            state[name] = read()
    if kernel := kernel_values(kernel_reads(), here, proc):
        state["kernel"] = kernel
    with suppress(OSError):
        state.update(_mounts((here / "mountinfo").read_text()))
    with suppress(OSError):
        state.update(parse_status((here / "status").read_text()))
    return state


def _stat_fields(here: Path) -> list[str]:
    """Fields of stat from the third on (index 0 is the state), safe against parentheses in the name."""
    return (here / "stat").read_text().rpartition(")")[2].split()


def parse_limits(text: str) -> dict[str, tuple[int, int]]:
    """(soft, hard) by name as `StartState.rlimits` has them, from the text of /proc/PID/limits."""
    limits_by_name = {}
    for match in _LIMIT.finditer(text):
        name = _LIMIT_NAMES.get(match["name"])
        if name is not None:
            limits_by_name[name] = (_limit(match["soft"]), _limit(match["hard"]))
    return limits_by_name


def _limit(text: str) -> int:
    return -1 if text == "unlimited" else int(text)


def _environment(here: Path) -> dict[str, str]:
    """Without who started it, which is not of the run."""
    found = parse_environment((here / "environ").read_bytes())
    return {name: value for name, value in found.items() if name != OWNER}


def parse_environment(data: bytes) -> dict[str, str]:
    """Variables from the bytes of /proc/PID/environ."""
    pairs = (item.decode(errors="replace").partition("=") for item in data.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in sorted(pairs)}


def parse_status(text: str) -> dict[str, str]:
    """The fields of /proc/PID/status of isolation."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in _STATUS_FIELDS:
            fields[_STATUS_FIELDS[name]] = value.strip()
    return fields


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


def kernel_values(addresses: Sequence[str], here: Path, proc: Path) -> dict[str, str]:
    """Values by address: `status/NAME` is a line of /proc/PID/status, `cgroup/FILE` a file of the process's own group.

    The controller of a file is its name up to the first dot. What this kernel does not have is left out.
    """
    values: dict[str, str] = {}
    for address in addresses:
        place, _, name = address.partition("/")
        with suppress(OSError):
            if place == "status":
                lines = (line.partition(":") for line in (here / "status").read_text().splitlines())
                values.update((address, text.strip()) for line, _, text in lines if line == name)
            else:
                groups, mounts = (here / "cgroup").read_text(), parse_mounts((proc / "self/mountinfo").read_text())
                folder = locate(name.partition(".")[0], groups, mounts)
                if folder is not None:
                    values[address] = (folder.path / name).read_text().strip()
    return values


def _cgroup_limits(here: Path, proc: Path) -> dict[str, Any]:
    """Raises OSError, or IndexError where the process's groups are not to be seen from here."""
    values = limits((here / "cgroup").read_text(), parse_mounts((proc / "self/mountinfo").read_text()))
    if not values:
        raise IndexError("no cgroup of the process is mounted here")
    return values


def parse_interfaces(text: str) -> list[str]:
    """Names of the network interfaces that a process sees, sorted, from the text of /proc/PID/net/dev."""
    return sorted(line.partition(":")[0].strip() for line in text.splitlines() if ":" in line)


def parse_pid_inside(text: str) -> int:
    """The process's number in the innermost PID namespace, from the text of /proc/PID/status.

    Raises:
        ValueError: The kernel does not report it (before 4.1).
    """
    for line in text.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise ValueError("no NSpid")


def parse_online(text: str) -> str:
    """The machine's CPUs that are on, as a list (`0-3,6`), from the text of /proc/stat, which has a line for each."""
    numbers = frozenset(int(name) for name in re.findall(r"^cpu(\d+) ", text, re.MULTILINE))
    if not numbers:
        raise ValueError("no CPU in /proc/stat")
    return cpu_list(numbers)


def parse_mountinfo(text: str) -> list[Mounted]:
    """The mounts of a process in order, from the text of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        match [before.split(), after.split()]:
            case [[_, _, _, _, place, options, *_], [kind, source, *more]]:
                read_only = "ro" in options.split(",") or any("ro" in words.split(",") for words in more)
                mounts.append(Mounted(unescaped(place), kind, unescaped(source), read_only))
            case _:
                continue
    return mounts


def _mounts(text: str) -> dict[str, Any]:
    """What the mounts show: the root, /dev/shm, and what the model is read from."""
    mounts = parse_mountinfo(text)
    root, shm = _last(mounts, "/"), _last(mounts, "/dev/shm")  # noqa: S108 - the mount, not a file in it
    model = _last(mounts, f"{INSIDE}/model", below=True)
    return {
        "rootfs": root and root.kind,
        "root_read_only": root and root.read_only,
        "shm_filesystem": shm and shm.kind,
        "model_filesystem": model and model.kind,
        "model_source": model and model.source,
        "model_read_only": model and model.read_only,
    }


def _last(mounts: Sequence[Mounted], target: str, *, below: bool = False) -> Mounted | None:
    """The last mount on a target, which hides those before it; with `below`, or on something in it."""
    places = [m for m in mounts if m.place == target or (below and m.place.startswith(f"{target}/"))]
    return places[-1] if places else None


def differences(declared: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """Where a process does not have the start state that was declared for it, in words.

    Only what was declared is compared; a field that could not be read back counts as a difference, since a number that
    cannot be checked is not believed. Masks of signals and of files are compared where the kernel reports them.
    """
    wrong = [
        f"{name} is {effective.get(name)!r}, declared {declared[name]!r}"
        for name in ("nice", "oom_score_adj")
        if effective.get(name) != declared[name]
    ]
    resources = effective.get("rlimits", {})
    wrong += [
        f"rlimit {name} is {resources.get(name)}, declared {tuple(value)}"
        for name, value in declared["rlimits"].items()
        if tuple(resources.get(name, ())) != tuple(value)
    ]
    umask = effective.get("umask")
    if umask is not None and "umask" in declared and int(umask, 8) != declared["umask"]:
        wrong.append(f"umask is {umask}, declared {declared['umask']:04o}")
    for name in ("signals_blocked", "signals_ignored"):
        mask = effective.get(name)
        if mask is not None and int(mask, 16) & ~_INTERPRETERS_OWN:
            wrong.append(f"{name.replace('_', ' ')} are {mask}, declared none")
    return wrong
