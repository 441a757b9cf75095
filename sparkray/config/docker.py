"""Docker options as typed fields, each declared once.

One declaration carries the flag's text, SDK argument, type, bounds, security grade, when it can act, what the read-back
shows and what Docker does without it (`flag.Flag`). From it come validation, the SDK call, the printed `docker run` line,
the columns `docker_<name>` of `runs`, equivalent treatments, and the contract tests, which create the container both ways,
compare `docker inspect`, start it and read its state. Adding a flag is one entry here, with examples, and its test case.

`--rm` is not a field: it is emulated (create, start, read back, wait, collect, remove), because automatic removal races
with the exit status. The printed line has it, so that a pasted line leaves nothing behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sparkray.config import flag as kinds
from sparkray.config import trace
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.flag import Flag, Kind, Security
from sparkray.config.privilege import security_choices
from sparkray.units import MIB, parse_size

_SMALLEST_MEMORY = 6 * MIB  # dockerd refuses less
_NANO = 1_000_000_000
_SWAP_FACTOR = 2
"""Docker's limit on memory and swap together, in limits on memory (moby, daemon: adaptContainerSettings)."""


def _flag(text: str, kind: Kind = kinds.TEXT, **rest: Any) -> Any:  # noqa: ANN401 - a field stands where its value will
    return field(default=None, metadata={"flag": Flag(text, kind, **rest)})


def _rlimit(name: str, **rest: Any) -> Any:  # noqa: ANN401 - see `_flag`
    """A resource limit, soft and hard alike."""
    return _flag("--ulimit", kinds.rlimit(name), argument="ulimits", trace=trace.resource_limit(name), **rest)


_CAPABILITIES: Mapping[str, Any] = {
    "cannot_act": kinds.has_every_capability,
    "default": kinds.DEFAULT_EFFECT,
    "effect": kinds.capabilities_effect,
    "effect_name": "capabilities",
    "trace": trace.CAPABILITIES,
}


@dataclass(frozen=True)
class DockerOptions:
    """The flags of one container environment. None means: not given, Docker's own default.

    What dockerd ignores beside `--privileged` and `--pid=host` is that of moby, daemon/oci_linux.go.
    """

    gpus: str | None = _flag(
        "--gpus",
        kinds.GPUS,
        argument="device_requests",
        why="which GPUs the container sees",
        examples=("all", "2", "device=0,1", "GPU-a"),
    )
    ipc: str | None = _flag(
        "--ipc",
        kinds.choice(
            *("host", "private", "shareable", "none"),
            of_container=True,
            # others may join a shareable one; nothing changes inside
            canonical=lambda value: "private" if value == "shareable" else value,
        ),
        argument="ipc_mode",
        why="host shares /dev/shm and System V IPC with everything on the machine",
        security="weakens",
        safe=("private", "shareable", "none"),
        default="private",
        trace=trace.every(
            trace.of_no_other(trace.namespace("ipc")), trace.when(lambda value: value == "none", trace.NO_SHM)
        ),
    )
    shm_size: str | None = _flag(
        "--shm-size",
        kinds.size(1),
        why="size of the container's own /dev/shm (64 MiB unless given)",
        examples=("32g", "67108865", "64m"),
        cannot_act=kinds.no_own_shm,
        default=64 * MIB,
        trace=trace.SHM,
    )
    network: str | None = _flag(
        "--network",
        kinds.choice("host", "none", "bridge", of_container=True),
        argument="network_mode",
        why="host removes the network namespace; it can act only on what talks over a network",
        security="weakens",
        safe=("bridge", "none"),
        workload="serve",
        default="bridge",
        trace=trace.every(
            trace.of_no_other(trace.namespace("net")),
            trace.when(lambda value: value in ("none", "bridge"), trace.INTERFACES),
        ),
    )
    pid: str | None = _flag(
        "--pid",
        kinds.choice("host", of_container=True),
        argument="pid_mode",
        why="host removes the PID namespace",
        security="weakens",
        trace=trace.of_no_other(trace.namespace("pid")),
    )
    uts: str | None = _flag(
        "--uts",
        kinds.choice("host"),
        argument="uts_mode",
        why="host shares the host name",
        trace=trace.namespace("uts"),
    )
    cgroupns: str | None = _flag(
        "--cgroupns",
        kinds.choice("host", "private"),
        why="whether the container sees the host's cgroups",
        trace=trace.namespace("cgroup"),
    )
    cgroup_parent: str | None = _flag(
        "--cgroup-parent",
        why="under which cgroup the container's own is made",
        examples=("/sparkray-flags",),
        trace=trace.CGROUP_PARENT,
        compare_as_asked=True,
    )
    cpuset_cpus: str | None = _flag(
        "--cpuset-cpus",
        kinds.NUMBERS,
        why="the CPUs that the container may run on",
        examples=("0", "0-0"),
        limits=True,
        trace=trace.CPUS,
    )
    cpuset_mems: str | None = _flag(
        "--cpuset-mems",
        kinds.NUMBERS,
        why="the memory nodes that the container may allocate from",
        examples=("0", "0-0"),
        limits=True,
        trace=trace.kernel_value("status/Mems_allowed_list", "memory nodes", same=cpu_numbers),
    )
    cpus: float | None = _flag(
        "--cpus",
        kinds.number(above=0, scale=_NANO),
        argument="nano_cpus",
        why="CPU time per wall time, enforced by CFS quota",
        examples=(0.5, 1.3),
        unit="CPUs",
        limits=True,
        trace=trace.QUOTA,
    )
    cpu_shares: int | None = _flag(
        "--cpu-shares",
        kinds.number(above=0),
        why="weight against other cgroups; acts only when CPUs are short",
        examples=(512,),
        limits=True,
        trace=trace.SHARES,
    )
    memory: str | None = _flag(
        "--memory",
        kinds.size(_SMALLEST_MEMORY),
        argument="mem_limit",
        why="limit on anonymous memory and page cache; CUDA memory of a GB10 is not counted",
        examples=("64m", "6291457"),
        limits=True,
        trace=trace.size_limit("memory_bytes", "memory up to"),
    )
    memory_swap: str | None = _flag(
        "--memory-swap",
        kinds.size(-1),
        argument="memswap_limit",
        why="limit on memory and swap together; -1 is unlimited swap",
        examples=("-1", "128m"),
        beside={"memory": "64m"},
        cannot_act=lambda options: "without --memory" if options.memory is None else None,
        limits=True,
        default=lambda options: _SWAP_FACTOR * parse_size(options.memory) if options.memory else None,
        trace=trace.size_limit("memory_swap_bytes", "memory and swap up to"),
    )
    pids_limit: int | None = _flag(
        "--pids-limit",
        kinds.number_or_unlimited(),
        why="processes and threads that the container may have; -1 is unlimited",
        examples=(4096, -1),
        unit="tasks",
        limits=True,
        default=-1,
        trace=trace.field("cgroup_limits.pids", "{} tasks".format),
    )
    ulimit_memlock: int | None = _rlimit(
        "memlock", why="locked memory in bytes, -1 unlimited: pinned host buffers", examples=(-1, 65536), unit="bytes"
    )
    ulimit_stack: int | None = _rlimit("stack", why="stack size in bytes", examples=(67108864,), unit="bytes")
    ulimit_nofile: int | None = _rlimit("nofile", why="open files", examples=(1024,), unit="files")
    oom_score_adj: int | None = _flag(
        "--oom-score-adj",
        kinds.number(-1000, 1000),  # the kernel's bounds
        why="how readily the kernel kills it when memory is short",
        examples=(500, -500, 0),
        default=0,
        trace=trace.field("oom_score_adj"),
    )
    privileged: bool | None = _flag(
        "--privileged",
        kinds.SWITCH,
        why="every capability and device, no seccomp, no AppArmor",
        security="dangerous",
        safe=(False,),
        default=False,
        trace=trace.PRIVILEGED,
    )
    cap_add: tuple[str, ...] | None = _flag(
        "--cap-add",
        kinds.CAPABILITIES,
        why="capabilities beyond Docker's default",
        examples=(("SYS_NICE", "IPC_LOCK"), ("CAP_SYS_NICE",), ("all",)),
        security=kinds.added_capabilities_grade,
        **_CAPABILITIES,
    )
    cap_drop: tuple[str, ...] | None = _flag(
        "--cap-drop",
        kinds.CAPABILITIES,
        why="capabilities to do without",
        examples=(("ALL",), ("mknod",)),
        **_CAPABILITIES,
    )
    security_opt: tuple[str, ...] | None = _flag(
        "--security-opt",
        kinds.SECURITY_OPT,
        why="seccomp, AppArmor and no-new-privileges",
        examples=(
            ("seccomp=unconfined",),
            ("no-new-privileges",),
            ("apparmor=unconfined", "no-new-privileges:true"),
        ),
        security=kinds.security_opt_grade,
        cannot_act=kinds.unconfined,
        default={},
        effect=security_choices,
        trace=trace.SECURITY_OPT,
    )
    init: bool | None = _flag(
        "--init",
        kinds.SWITCH,
        why="an init process that reaps children",
        cannot_act=lambda options: (
            "under --pid=host: Docker starts an init process only in a PID namespace of its own"
            if options.init and options.pid == "host"
            else None
        ),
        default=False,
        trace=trace.INIT,
    )
    read_only: bool | None = _flag(
        "--read-only", kinds.SWITCH, why="the root file system is read-only", default=False, trace=trace.READ_ONLY
    )
    log_driver: str | None = _flag(
        "--log-driver",
        kinds.choice(
            *("json-file", "local", "none", "journald", "syslog"), convert=lambda value: {"Type": value, "Config": {}}
        ),
        argument="log_config",
        why="where Docker copies the engine's output",
    )
    runtime: str | None = _flag(
        "--runtime", why="the OCI runtime: runc, crun, nvidia", examples=("io.containerd.runc.v2", "runc")
    )
    device: tuple[str, ...] | None = _flag(
        "--device",
        kinds.DEVICES,
        argument="devices",
        why="device files, in place of --gpus",
        examples=(("/dev/null",), ("/dev/null", "/dev/zero")),
        security="weakens",
    )
    env: tuple[str, ...] | None = _flag(
        "-e",  # in a printed line --env=NAME=VALUE are the variables that every arm has
        kinds.VARIABLES,
        argument="environment",
        why="variables of the engine beyond those that every arm has",
        examples=(("LOG=5",), ("LOG=a b", "OWN=3", "EMPTY=")),
        trace=trace.VARIABLES,
        compare_as_asked=True,
    )

    def __post_init__(self) -> None:
        for name, flag, value in given(self):
            wrong = flag.kind.check(value)
            if wrong is not None:
                raise ValueError(f"{name}: {wrong}")


_FLAGS: Mapping[str, Flag] = {f.name: f.metadata["flag"] for f in fields(DockerOptions)}


def flag_of(name: str) -> Flag:
    """The declaration behind a field.

    Raises:
        KeyError: No option has that name.
    """
    return _FLAGS[name]


def given(options: DockerOptions) -> list[tuple[str, Flag, Any]]:
    """The options that were given, as (name, declaration, value), in the order of declaration."""
    return [(name, flag, value) for name, flag in _FLAGS.items() if (value := getattr(options, name)) is not None]


def option_names() -> list[str]:
    """Every option's name, in the order of declaration."""
    return list(_FLAGS)


def without(options: DockerOptions, names: set[str]) -> DockerOptions:
    """The same options less some, for a host that cannot honour them."""
    return DockerOptions(**{name: value for name, _, value in given(options) if name not in names})


def sdk_arguments(options: DockerOptions) -> dict[str, Any]:
    """Keywords for `client.containers.create`; values of flags that repeat (ulimits) are joined."""
    arguments: dict[str, Any] = {}
    for _, flag, value in given(options):
        converted = flag.kind.convert(value)
        if isinstance(converted, list) and flag.keyword in arguments:
            converted = [*arguments[flag.keyword], *converted]
        arguments[flag.keyword] = converted
    return arguments


def flag_words(options: DockerOptions) -> list[str]:
    """The words of `docker run` for these options (`--ipc=host`, `--privileged`)."""
    return [word for _, flag, value in given(options) for word in flag.words(value)]


def words_of(name: str, options: DockerOptions) -> str:
    """One option as `docker run` has it; one that says no (`init`: false) has no flag, and goes by its name."""
    value = getattr(options, name)
    return " ".join(flag_of(name).words(value)) or f"{name}={value}"


def cannot_act(options: DockerOptions) -> dict[str, str]:
    """Options that cannot act beside the others: name to reason."""
    reasons = ((name, flag, flag.cannot_act(options)) for name, flag, _ in given(options))
    return {name: f"{flag.text} cannot act {reason}" for name, flag, reason in reasons if reason is not None}


def grade_of(name: str, options: DockerOptions) -> Security:
    """How much isolation one option trades away by its value."""
    return flag_of(name).grade(getattr(options, name), options)


def kernel_reads() -> tuple[str, ...]:
    """Addresses of the kernel's values that the declarations need beyond the fields of a state."""
    return tuple(dict.fromkeys(address for flag in _FLAGS.values() if flag.trace for address in flag.trace.reads))
