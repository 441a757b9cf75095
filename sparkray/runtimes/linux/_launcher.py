"""Becomes the engine: mounts, chroot, start state, then exec. Run as `python -I -S _launcher.py SPEC.json`.

It stands alone (standard library only) since it may run as root through sudo, and it ends by replacing itself, so the
engine's process is nobody's wrapper; only before a PID namespace of its own a process stays behind, to report how the
engine ended. The mounts live in a mount namespace of its own: they vanish with the last process,
whatever happens. What goes wrong before the exec is written to the file that the spec names as `error`.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from types import ModuleType
from typing import Any

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
RT_SIGACTION = {"x86_64": 13, "aarch64": 134}

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise the error of errno."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """The system call mount, errors raised."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode())
    check(result, f"mount {source} on {target}")


def bind(source: str, target: str, *, read_only: bool, recursive: bool = False) -> None:
    """A bind mount; read-only needs a second call for it and, since that does not reach them, for each mount below."""
    mount(source, target, "none", MS_BIND | (MS_REC if recursive else 0))
    if not read_only:
        return
    mount("none", target, "none", MS_BIND | MS_REMOUNT | MS_RDONLY)
    for place, flags in mounts_below(os.path.realpath(target)) if recursive else ():
        mount("none", place, "none", MS_BIND | MS_REMOUNT | MS_RDONLY | flags)


def mounts_below(target: str) -> list[tuple[str, int]]:
    """Mount points below a folder, with those of their flags that a remount would take away."""
    kept = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        for line in file:
            fields = line.split()
            place = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            if place.startswith(f"{target}/"):
                found.append((place, sum(kept.get(option, 0) for option in fields[5].split(","))))
    return found


def prepare_root(spec: dict[str, Any], isolate: ModuleType | None = None) -> None:
    """The rootfs read-only with proc, sys, dev, a scratch /tmp and the binds, in a namespace of its own; then chroot."""
    root = spec["rootfs"]
    check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    if isolate is not None and "overlay" in spec["isolation"]:
        isolate.overlay(root, spec["upper"])
    else:
        bind(root, root, read_only=False)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind("/sys", f"{root}/sys", read_only=False, recursive=True)
    bind("/dev", f"{root}/dev", read_only=False, recursive=True)
    bind(spec["scratch"], f"{root}/tmp", read_only=False)
    for place in spec["made"]:
        mount("tmpfs", root + place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for source, target, read_only in spec["binds"]:
        place = root + target
        if os.path.isdir(source):  # noqa: PTH112 - before pathlib would be worth its import
            os.makedirs(place, exist_ok=True)  # noqa: PTH103
        elif not os.path.exists(place):  # noqa: PTH110
            os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
            os.mkfifo(place, 0o644)  # no file: those count in the digest of the files that the arms share
        bind(source, place, read_only=read_only, recursive=True)  # as Docker's own are
    if isolate is not None:
        isolate.dress(spec["isolation"], root, spec["shm_bytes"])
    mount("none", root, "none", MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chroot(root)


def default_signals() -> None:
    """Every signal at its default action and none blocked.

    GNU make leaves glibc's own two signals (32, 33) ignored in what it starts. glibc's sigaction refuses these, so the
    kernel is asked itself; an action of zeros is SIG_DFL.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    call = RT_SIGACTION.get(os.uname().machine)
    if call is not None:
        for internal in (32, 33):
            _libc.syscall(call, internal, bytes(64), None, 8)


def begin_state(state: dict[str, Any]) -> None:
    """Nothing of the parent's state remains: nice, OOM score, limits, affinity, signals, umask."""
    os.setpriority(os.PRIO_PROCESS, 0, state["nice"])
    # bytes, since a codec may have to be imported and after the chroot this interpreter's library is out of reach
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:  # noqa: PTH123
        file.write(str(state["oom_score_adj"]).encode())
    for name, (soft, hard) in state["rlimits"].items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            resource.setrlimit(number, (soft, hard))
    cpus = state["affinity"]
    os.sched_setaffinity(0, cpus if cpus is not None else range(os.sysconf("SC_NPROCESSORS_CONF")))
    default_signals()
    os.umask(state["umask"])


def isolation_of(spec: dict[str, Any]) -> ModuleType | None:
    """What puts layers of isolation on; it lies beside this file, and is read only where a layer is asked for."""
    if not spec["isolation"]:
        return None
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    return importlib.import_module("_isolate")


def main() -> None:
    """Read the spec, become the engine."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        spec = json.load(file)
    error = os.open(spec["error"], os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        isolate = isolation_of(spec)
        program = b""
        if isolate is not None:
            if "seccomp" in spec["isolation"]:
                program = importlib.import_module("_filter").seccomp_program(os.uname().machine)
            if "pid" in spec["isolation"]:
                isolate.enter_pid_namespace()
            isolate.enter(spec["isolation"], spec)
        if spec["rootfs"]:
            prepare_root(spec, isolate)
        begin_state(spec["start"])
        os.chdir(spec["workdir"])
        if isolate is not None:
            isolate.confine(spec["isolation"], program, spec["capabilities"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606
    except (OSError, ValueError, KeyError) as problem:
        os.write(error, f"{problem}".encode())
        os._exit(126)


if __name__ == "__main__":
    main()
