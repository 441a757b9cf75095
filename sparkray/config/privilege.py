"""What Docker makes of the options that trade isolation, and which of them give power over the host. Pure."""

import re
from collections.abc import Iterator, Sequence
from posixpath import normpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparkray.config.docker import DockerOptions

_SELINUX_COLONS = 3

# In the order of their bits (capabilities(7)).
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
# What Docker gives a container that asks for nothing (its documentation of `docker run`).
DEFAULT_CAPABILITIES = frozenset(
    {
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    }
)
# Capabilities with which a process can leave its container (capabilities(7); Docker's documentation warns of them).
ROOT_CAPABILITIES = frozenset({"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "DAC_READ_SEARCH", "BPF"})


def capabilities_of(options: "DockerOptions") -> frozenset[str]:
    """The capabilities that dockerd gives for these options, without `CAP_` (moby, oci/caps: TweakCapabilities)."""
    if options.privileged:
        return frozenset(CAPABILITIES)
    added, dropped = plain(options.cap_add), plain(options.cap_drop)
    if "ALL" in added:
        return frozenset(CAPABILITIES) - dropped
    return added if "ALL" in dropped else DEFAULT_CAPABILITIES - dropped | added


def plain(names: Sequence[str] | None) -> frozenset[str]:
    """Names of capabilities in capital letters, without `CAP_`."""
    return frozenset(name.upper().removeprefix("CAP_") for name in names or ())


def security_choices(options: "DockerOptions") -> dict[str, str]:
    """Values of `--security-opt` by name, as far as they can act and ask for more than Docker's default."""
    chosen = {}
    for text in options.security_opt or ():
        name, _, value = text.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and value in ("", "true"):
            chosen[name] = "true"
        elif name == "label":
            chosen[text.replace(":", "=", 1)] = ""
        elif name in ("seccomp", "apparmor") and not options.privileged:
            chosen[name] = value
    return chosen


_JOINS = {
    "pid": "sees, traces and ends processes outside it",
    "ipc": "shares memory with programs outside it",
    "network": "reaches what listens on another container's loopback",
    "uts": "shares the host's name, which it can change once it has a capability for that",
}
# The host's network needs no consent: a server's own ports are the only thing there that it takes (SECURITY.md). The host's
# cgroup namespace shows names of control groups, whose files stay read-only: it is Docker's own default on cgroup 1.
_OPEN_HOSTS = ("pid", "ipc", "uts")
# Whatever is not known to be harmless is asked for: the host has a device for almost every power.
_HARMLESS_DEVICE = re.compile(
    r"/dev/(null|zero|full|u?random|cpu_dma_latency|kvm|kfd|(nvidia|nvhost|nvmap|nvsciipc|nvgpu)[^/]*|accel|video\d+"
    r"|(nvidia-caps|nvidia-caps-imex-channels|nvgpu|accel|dri|infiniband|snd)/[^.]+)"
)
_DEVICE = "reaches a device of the host's that may be a disk, memory, a processor or a console"
_NETWORKS = {"--net": "network"}
_FILE = "has a file of the host's read or written, as root"
_OPEN_WORDS = {
    "--cap-add": "adds capabilities",
    "--cidfile": _FILE,
    "--device-cgroup-rule": "opens devices of the host",
    "--env-file": _FILE,
    "--label-file": _FILE,
    "--mount": "mounts what nobody checks here",
    "--privileged": "gives every capability and device",
    "--use-api-socket": "hands the Docker engine over",
    "--userns": "makes its root the host's",
    "--volume": "mounts what nobody checks here",
    "--volumes-from": "mounts what nobody checks here",
}


def dangers_of(options: "DockerOptions") -> dict[str, str]:
    """What of these options gives a container power over the host, beyond Docker's default: words to what they do."""
    return dict(_dangers(options))


def _dangers(options: "DockerOptions") -> Iterator[tuple[str, str]]:
    if options.privileged:
        yield "--privileged", "gives every capability and device"
    for name, value in security_choices(options).items():
        if value == "unconfined":
            yield f"--security-opt={name}=unconfined", "lifts the filter on what it may ask of the kernel"
        elif name == "apparmor" and value not in ("", "docker-default"):
            yield f"--security-opt=apparmor={value}", "replaces the filter on what it may do"
        elif name.startswith("label"):
            yield f"--security-opt={name}", "changes the separation by labels"
    for name, what in _JOINS.items():
        joined = str(getattr(options, name) or "")
        if _is_joined(name, joined):
            yield f"--{name}={joined}", what
    for name in sorted(plain(options.cap_add) - DEFAULT_CAPABILITIES):
        yield f"--cap-add={name}", "adds a capability"
    yield from ((f"--device={name}", _DEVICE) for name in options.device or () if is_open_device(name))
    yield from ((word, effect) for word in options.other or () if (effect := _danger_of_word(word)) is not None)


def _is_joined(name: str, value: str) -> bool:
    """Whether a container with that value has a namespace of the host's or of another container's, with power over it."""
    return value.startswith("container:") or (value == "host" and name in _OPEN_HOSTS)


def is_open_device(words: str) -> bool:
    """Whether `PATH[:TARGET[:RIGHTS]]` is a device of the host that is not known to be harmless; links are not followed."""
    path = re.sub("^/+", "/", normpath(words.partition(":")[0]))
    return path.startswith("/") and _HARMLESS_DEVICE.fullmatch(path) is None


def _danger_of_word(word: str) -> str | None:
    """What an option without a type does; None for one that is harmless."""
    name, _, value = word.partition("=")
    if name == "--security-opt":
        harmless = value.partition("=")[0].partition(":")[0] == "no-new-privileges"
        return None if harmless else "changes what it may ask of the kernel"
    joins = _NETWORKS.get(name, name[2:])
    if joins in _JOINS:
        # a network may be given as fields: --network=name=NAME,alias=ALIAS
        values = [field.strip().removeprefix("name=") for field in value.split(",")]
        return _JOINS[joins] if any(_is_joined(joins, one) for one in values) else None
    if name == "--device":
        return _DEVICE if is_open_device(value) else None
    return _OPEN_WORDS.get(name)


def capability_names(mask: str) -> frozenset[str]:
    """The capabilities of a hexadecimal mask of /proc/PID/status; bits without a name are left out."""
    bits = int(mask, 16)
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1)


def apparmor_is(profile: str, got: str | None) -> bool | None:
    """Whether a process has an AppArmor profile, by /proc/PID/attr/current as it is read back (`docker-default (enforce)`).

    None for the label of another security module, which the kernel shows in the same place.
    """
    if got is None:
        return True if profile == "unconfined" else None
    return None if got.count(":") >= _SELINUX_COLONS else got.split(" (")[0] == profile
