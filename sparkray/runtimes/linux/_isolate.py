"""Layers of isolation that the launcher puts on before it becomes the engine. See `config.isolation` for what each is.

Like the launcher it stands alone (standard library only) and ends with its process. Run as
`python -I -S _isolate.py FOLDER` it tries every layer in a process of its own and prints the kernel's errors, as JSON.
"""

import ctypes
import fcntl
import importlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
CAPABILITY_VERSION_3 = 0x20080522
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LAST_CAPABILITY = 63
HOST_NAME_LENGTH = 63
NAMESPACES = {"ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS, "network": CLONE_NEWNET, "cgroupns": CLONE_NEWCGROUP}
APPARMOR_PROFILE = "docker-default"

MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
)
# Hidden and read-only paths of a container (the OCI runtime configuration that Docker writes).
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

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


def enter_pid_namespace() -> None:
    """Return in a child that is the first process of a PID namespace; the caller waits for it and ends as it ended.

    The child dies with whoever waits for it, and leads a session as the caller did.
    """
    check(_libc.unshare(CLONE_NEWPID), "unshare of the PID namespace")
    child = os.fork()
    if child:
        _end_as(child)
    check(_libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
    os.setsid()


def _end_as(child: int) -> NoReturn:
    """Wait for a child and end with its status, or by its signal and without a core file of our own."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def enter(layers: Sequence[str], spec: Mapping[str, Any]) -> None:
    """The control groups that were made for the process, then the namespaces, which begin where the process is."""
    for group in spec["cgroups"]:
        with open(f"{group}/cgroup.procs", "wb", buffering=0) as file:  # noqa: PTH123 - nothing but the system's calls
            file.write(b"0")
    flags = 0
    for layer in layers:
        flags |= NAMESPACES.get(layer, 0)
    if flags:
        check(_libc.unshare(flags), "unshare")
    if "uts" in layers:
        socket.sethostname(spec["name"][:HOST_NAME_LENGTH])
    if "network" in layers:
        loopback_up()


def loopback_up() -> None:
    """Bring the loopback interface up, which a new network namespace has down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        asked = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(link, SIOCGIFFLAGS, asked)
        (flags,) = struct.unpack_from("h", asked, 16)
        struct.pack_into("h", asked, 16, flags | IFF_UP)
        fcntl.ioctl(link, SIOCSIFFLAGS, asked)


def overlay(root: str, upper: str) -> None:
    """The root on an overlay over itself. `upper` is a folder of the run alone, on a file system that can hold one."""
    places = {"lowerdir": root, "upperdir": f"{upper}/upper", "workdir": f"{upper}/work"}
    for place in (places["upperdir"], places["workdir"]):
        os.makedirs(place, exist_ok=True)  # noqa: PTH103
    data = ",".join(f"{key}={_escaped(place)}" for key, place in places.items())
    mount("overlay", root, "overlay", 0, data)


def _escaped(place: str) -> str:
    """A path as overlayfs reads its options, where a comma ends one and a colon a layer."""
    for character in ("\\", ":", ","):
        place = place.replace(character, f"\\{character}")
    return place


def dress(layers: Sequence[str], root: str, shm_bytes: int) -> None:
    """What layers mount inside a root that is ready, before it becomes the root."""
    if "ipc" in layers:
        quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC
        mount("shm", f"{root}/dev/shm", "tmpfs", quiet, f"mode=1777,size={shm_bytes}")  # noqa: S108
        if os.path.isdir(f"{root}/dev/mqueue"):  # noqa: PTH112
            mount("mqueue", f"{root}/dev/mqueue", "mqueue", quiet)
    if "masked-paths" in layers:
        mask(root)


def mask(root: str) -> None:
    """Hide what a container does not see and protect what it may not write, as far as this kernel has it; /sys too."""
    for place in MASKED:
        if os.path.isdir(root + place):  # noqa: PTH112
            mount("tmpfs", root + place, "tmpfs", MS_RDONLY)
        elif os.path.exists(root + place):  # noqa: PTH110
            mount("/dev/null", root + place, "none", MS_BIND)
    for place in (*READ_ONLY, "/sys"):
        if os.path.exists(root + place):  # noqa: PTH110
            if place != "/sys":
                mount(root + place, root + place, "none", MS_BIND | MS_REC)
            flags = MS_BIND | MS_REMOUNT | MS_RDONLY
            mount("none", root + place, "none", flags | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def filter_calls(program: bytes) -> None:
    """Put a filter of system calls on this process and what it starts. Without no_new_privs, so that root is needed."""
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
    check(_libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0), "prctl of the seccomp filter")


def keep_capabilities(kept: int) -> None:
    """Drop every capability but those of a mask, from the bounding set and from this process's own sets."""
    for number in range(LAST_CAPABILITY + 1):
        if not kept >> number & 1:
            _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # EINVAL: the kernel knows no capability of that number
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    current = ctypes.create_string_buffer(24)
    check(_libc.capget(header, current), "capget")
    low, high = kept & 0xFFFFFFFF, kept >> 32
    effective = struct.unpack("6I", current.raw)
    kept_now = (low & effective[0], low & effective[1], 0, high & effective[3], high & effective[4], 0)
    check(_libc.capset(header, struct.pack("6I", *kept_now)), "capset")


def profile_at_exec() -> None:
    """Ask AppArmor for Docker's profile from the exec on."""
    for place in ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"):
        try:
            file = os.open(place, os.O_WRONLY)
        except FileNotFoundError:
            continue
        try:
            os.write(file, f"exec {APPARMOR_PROFILE}".encode())
        finally:
            os.close(file)
        return
    raise OSError("this kernel has no AppArmor")


def confine(layers: Sequence[str], program: bytes, capabilities: int) -> None:
    """The layers that take rights away, last of all; the filter before the capabilities that putting it on needs."""
    if "apparmor" in layers:
        profile_at_exec()
    if "seccomp" in layers:
        filter_calls(program)
    if "capabilities" in layers:
        keep_capabilities(capabilities)


def _try_overlay(folder: str) -> None:
    check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    root = f"{folder}/root"
    os.makedirs(root, exist_ok=True)  # noqa: PTH103
    overlay(root, folder)


def _try_masks(_: str) -> None:
    check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mask("")


def _try_pid(_: str) -> None:
    enter_pid_namespace()
    check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _try_namespace(layer: str) -> Callable[[str], None]:
    return lambda _: enter((layer,), {"cgroups": (), "name": "try"})


def _try_apparmor(_: str) -> None:
    profiles = "/sys/kernel/security/apparmor/profiles"
    if not os.path.exists(profiles):  # noqa: PTH110
        raise OSError("this kernel has no AppArmor, or does not show it")
    with open(profiles, encoding="utf-8") as file:  # noqa: PTH123
        if not any(line.startswith(f"{APPARMOR_PROFILE} ") for line in file):
            raise OSError(f"the kernel has not loaded the profile {APPARMOR_PROFILE}")
    profile_at_exec()


def _try_filter(_: str) -> None:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    try:
        program = importlib.import_module("_filter").seccomp_program(os.uname().machine)
    except KeyError:
        raise OSError(f"no filter is known for {os.uname().machine}") from None
    filter_calls(program)


TRIALS: Mapping[str, Callable[[str], None]] = {
    "overlay": _try_overlay,
    "pid": _try_pid,
    **{layer: _try_namespace(layer) for layer in NAMESPACES},
    "seccomp": _try_filter,
    "capabilities": lambda _: keep_capabilities(0),
    "apparmor": _try_apparmor,
    "masked-paths": _try_masks,
}


def tried(layer: str, folder: str) -> str | None:
    """The kernel's error when a process of its own takes a layer on; None when there is none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            TRIALS[layer](folder)
        except OSError as problem:
            os.write(writer, str(problem).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as errors:
        reason = errors.read().decode()
    _, status = os.waitpid(child, 0)
    return reason or (None if status == 0 else f"a process that tried it ended with status {status}")


def main() -> None:
    """Print the result of every layer, by name."""
    json.dump({layer: tried(layer, sys.argv[1]) for layer in TRIALS}, sys.stdout)


if __name__ == "__main__":
    main()
