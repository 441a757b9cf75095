"""Docker options as typed fields, each declared once.

One field carries the flag's text, the SDK argument, its bounds, its security grade and when it cannot act. From it come
validation, the SDK call, the printed `docker run` line, the factor's columns and the contract test, which creates the
container both ways and compares `docker inspect`. Adding a flag is one line here.

`--rm` is no field: it is emulated (create, start, read back, wait, collect, remove), because automatic removal races
with the exit status. The printed line has it, so that a pasted line leaves nothing behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from sparkray.config.gpu_choice import names_a_uuid
from sparkray.units import MIB, format_size, parse_size

Security = Literal["none", "weakens", "dangerous"]
_CPUSET = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_SMALLEST_MEMORY = 6 * MIB  # dockerd refuses less


@dataclass(frozen=True)
class Flag:
    """What one Docker option is, apart from its value.

    Attributes:
        text: The flag as `docker run` spells it.
        argument: Keyword of `docker.models.containers.create`.
        words: Value to the words that follow the flag, one item per repetition; an empty word for a bare flag.
        convert: Value to what the SDK takes.
        check: What is wrong with a value, or None.
        inert: Why the option cannot act beside the others, or None when it can.
        security: Whether it trades isolation away.
        why: What it is for.
    """

    text: str
    argument: str
    words: Callable[[Any], list[str]]
    convert: Callable[[Any], Any]
    check: Callable[[Any], str | None]
    inert: Callable[["DockerOptions"], str | None]
    security: Security
    why: str


def _one(value: object) -> list[str]:
    return [str(value)]


def _same(value: object) -> object:
    return value


def _fine(_: object) -> None:
    return None


def _acts(_: "DockerOptions") -> None:
    return None


def _flag(
    text: str,
    argument: str,
    *,
    why: str,
    words: Callable[[Any], list[str]] = _one,
    convert: Callable[[Any], Any] = _same,
    check: Callable[[Any], str | None] = _fine,
    inert: Callable[["DockerOptions"], str | None] = _acts,
    security: Security = "none",
) -> Any:  # noqa: ANN401 - a dataclass field stands where its value will
    flag = Flag(text, argument, words, convert, check, inert, security, why)
    return field(default=None, metadata={"flag": flag})


def _bare(value: object) -> list[str]:
    return [""] if value else []


def _size_words(value: str | int) -> list[str]:
    size = parse_size(value)
    return [format_size(size) if size >= 0 else str(size)]


def _check_size(value: str | int, least: int) -> str | None:
    try:
        size = parse_size(value)
    except ValueError as error:
        return str(error)
    return None if size >= least else f"{value!r} is below the least that acts, {format_size(least)}"


def _check_positive(value: float) -> str | None:
    return None if value > 0 else f"{value!r} is not above 0"


def _check_cpuset(value: str) -> str | None:
    return None if _CPUSET.fullmatch(value) else f"{value!r} is no CPU list: write 0-3 or 0,2,5-7"


def _check_mode(*known: str) -> Callable[[str], str | None]:
    def check(value: str) -> str | None:
        if value in known or value.startswith("container:"):
            return None
        return f"{value!r} is none of {', '.join(known)}"

    return check


def _capabilities(value: tuple[str, ...]) -> list[str]:
    """Full names in order, as newer command lines send them: an older one passes on what it was given."""
    upper = {name.upper() for name in value}
    return sorted(name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper)


def _check_security_opt(value: tuple[str, ...]) -> str | None:
    for option in value:
        name, _, given_value = option.replace(":", "=", 1).partition("=")
        if name == "seccomp" and given_value != "unconfined":
            return f"{option!r}: of seccomp profiles only unconfined is known, since the command line would read a file"
        if name not in ("seccomp", "apparmor", "label", "no-new-privileges"):
            return f"{option!r} begins with none of seccomp, apparmor, label, no-new-privileges"
    return None


def _check_device(value: tuple[str, ...]) -> str | None:
    """Paths of the host, the same inside; a CDI name goes another way into the API than the other devices."""
    wrong = next((name for name in value if ":" in name or not name.startswith("/dev/")), None)
    return None if wrong is None else f"{wrong!r} is no path below /dev"


def _check_env(value: tuple[str, ...]) -> str | None:
    wrong = next((text for text in value if not _VARIABLE.match(text)), None)
    if wrong is not None:
        return f"{wrong!r} is no variable: write NAME=VALUE"
    by_uuid = next((text for text in value if names_a_uuid(dict([text.split("=", 1)]))), None)
    return (
        None if by_uuid is None else f"{by_uuid!r} names a GPU by UUID, which trtllm-bench cannot read: write its index"
    )


def _shm_inert(options: "DockerOptions") -> str | None:
    if options.ipc in ("host", "none"):
        return f"--shm-size cannot act under --ipc={options.ipc}: the container does not get a /dev/shm of its own"
    return None


def _swap_inert(options: "DockerOptions") -> str | None:
    return "--memory-swap cannot act without --memory" if options.memory is None else None


def _ulimit(name: str) -> dict[str, Any]:
    """The three faces of one resource limit; soft and hard are alike, as `docker run` takes a single number."""

    def words(value: int) -> list[str]:
        return [f"{name}={value}"]

    def convert(value: int) -> list[dict[str, object]]:
        return [{"Name": name, "Soft": value, "Hard": value}]

    def check(value: int) -> str | None:
        return None if value >= -1 else f"{value} is below -1, which means unlimited"

    return {"words": words, "convert": convert, "check": check}


def _gpu_request(value: str) -> list[dict[str, object]]:
    request: dict[str, object] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if value == "all":
        return [{**request, "Count": -1}]
    if value.isdigit():
        return [{**request, "Count": int(value)}]
    return [{**request, "Count": 0, "DeviceIDs": value.removeprefix("device=").split(",")}]


@dataclass(frozen=True)
class DockerOptions:
    """The flags of one container environment. None means: not given, Docker's own default."""

    gpus: str | None = _flag(
        "--gpus",
        "device_requests",
        why="which GPUs the container sees",
        convert=_gpu_request,
        words=lambda v: [v if v == "all" or v.isdigit() else '"device=' + v.removeprefix("device=") + '"'],
    )
    ipc: str | None = _flag(
        "--ipc",
        "ipc_mode",
        security="weakens",
        check=_check_mode("host", "private", "shareable", "none"),
        why="host shares /dev/shm and System V IPC with everything on the machine",
    )
    shm_size: str | None = _flag(
        "--shm-size",
        "shm_size",
        words=_size_words,
        convert=parse_size,
        inert=_shm_inert,
        check=lambda v: _check_size(v, 1),
        why="size of the container's own /dev/shm (64 MiB unless given)",
    )
    network: str | None = _flag(
        "--network",
        "network_mode",
        check=_check_mode("host", "none", "bridge"),
        security="weakens",
        why="host removes the network namespace; it can act only on what talks over a network",
    )
    pid: str | None = _flag(
        "--pid",
        "pid_mode",
        check=_check_mode("host"),
        security="weakens",
        why="host removes the PID namespace",
    )
    uts: str | None = _flag("--uts", "uts_mode", check=_check_mode("host"), why="host shares the host name")
    cgroupns: str | None = _flag(
        "--cgroupns",
        "cgroupns",
        check=_check_mode("host", "private"),
        why="whether the container sees the host's cgroups",
    )
    cgroup_parent: str | None = _flag(
        "--cgroup-parent",
        "cgroup_parent",
        why="under which cgroup the container's own is made",
    )
    cpuset_cpus: str | None = _flag(
        "--cpuset-cpus",
        "cpuset_cpus",
        check=_check_cpuset,
        why="the CPUs that the container may run on",
    )
    cpus: float | None = _flag(
        "--cpus",
        "nano_cpus",
        check=_check_positive,
        convert=lambda v: round(v * 1_000_000_000),
        why="CPU time per wall time, enforced by CFS quota",
    )
    cpu_shares: int | None = _flag(
        "--cpu-shares",
        "cpu_shares",
        check=_check_positive,
        why="weight against other cgroups; acts only when CPUs are short",
    )
    memory: str | None = _flag(
        "--memory",
        "mem_limit",
        words=_size_words,
        convert=parse_size,
        check=lambda v: _check_size(v, _SMALLEST_MEMORY),
        why="limit on anonymous memory and page cache; CUDA memory of a GB10 is not counted",
    )
    memory_swap: str | None = _flag(
        "--memory-swap",
        "memswap_limit",
        words=_size_words,
        convert=parse_size,
        inert=_swap_inert,
        check=lambda v: _check_size(v, -1),
        why="limit on memory and swap together; -1 is unlimited swap",
    )
    ulimit_memlock: int | None = _flag(
        "--ulimit",
        "ulimits",
        **_ulimit("memlock"),
        why="locked memory in bytes, -1 unlimited: pinned host buffers",
    )
    ulimit_stack: int | None = _flag("--ulimit", "ulimits", **_ulimit("stack"), why="stack size in bytes")
    ulimit_nofile: int | None = _flag("--ulimit", "ulimits", **_ulimit("nofile"), why="open files")
    oom_score_adj: int | None = _flag(
        "--oom-score-adj",
        "oom_score_adj",
        check=lambda v: None if -1000 <= v <= 1000 else f"{v} is outside -1000..1000",  # noqa: PLR2004 - the kernel's bounds
        why="how readily the kernel kills it when memory is short",
    )
    privileged: bool | None = _flag(
        "--privileged",
        "privileged",
        words=_bare,
        security="dangerous",
        why="every capability and device, no seccomp, no AppArmor",
    )
    cap_add: tuple[str, ...] | None = _flag(
        "--cap-add",
        "cap_add",
        words=_capabilities,
        convert=_capabilities,
        security="weakens",
        why="capabilities beyond Docker's default",
    )
    cap_drop: tuple[str, ...] | None = _flag(
        "--cap-drop",
        "cap_drop",
        words=_capabilities,
        convert=_capabilities,
        why="capabilities to do without",
    )
    security_opt: tuple[str, ...] | None = _flag(
        "--security-opt",
        "security_opt",
        words=list,
        convert=list,
        check=_check_security_opt,
        security="weakens",
        why="seccomp, AppArmor and no-new-privileges",
    )
    init: bool | None = _flag("--init", "init", words=_bare, why="an init process that reaps children")
    read_only: bool | None = _flag("--read-only", "read_only", words=_bare, why="the root file system is read-only")
    log_driver: str | None = _flag(
        "--log-driver",
        "log_config",
        check=_check_mode("json-file", "local", "none", "journald", "syslog"),
        convert=lambda v: {"Type": v, "Config": {}},
        why="where Docker copies the engine's output",
    )
    runtime: str | None = _flag("--runtime", "runtime", why="the OCI runtime: runc, crun, nvidia")
    device: tuple[str, ...] | None = _flag(
        "--device",
        "devices",
        words=list,
        convert=lambda v: [f"{name}:{name}:rwm" for name in v],
        check=_check_device,
        security="weakens",
        why="device files, in place of --gpus",
    )
    env: tuple[str, ...] | None = _flag(
        "-e",  # in a printed line --env=NAME=VALUE are the variables that every arm has
        "environment",
        words=list,
        convert=lambda v: dict(text.split("=", 1) for text in v),
        check=_check_env,
        why="variables of the engine beyond those that every arm has",
    )

    def __post_init__(self) -> None:
        for name, flag, value in given(self):
            wrong = flag.check(value)
            if wrong is not None:
                raise ValueError(f"{name}: {wrong}")


def flag_of(name: str) -> Flag:
    """The declaration behind a field.

    Raises:
        KeyError: No option has that name.
    """
    return cast("Flag", _FLAGS[name])


def given(options: DockerOptions) -> list[tuple[str, Flag, Any]]:
    """The options that were given, as (name, declaration, value), in the order of declaration."""
    return [
        (f.name, f.metadata["flag"], value) for f in fields(options) if (value := getattr(options, f.name)) is not None
    ]


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
        converted = flag.convert(value)
        if isinstance(converted, list) and flag.argument in arguments:
            arguments[flag.argument] = [*arguments[flag.argument], *converted]
        else:
            arguments[flag.argument] = converted
    return arguments


def flag_words(options: DockerOptions) -> list[str]:
    """The words of `docker run` for these options (`--ipc=host`, `--privileged`)."""
    return [
        flag.text if word == "" else f"{flag.text}={word}"
        for _, flag, value in given(options)
        for word in flag.words(value)
    ]


def inert(options: DockerOptions) -> dict[str, str]:
    """Options that cannot act beside the others: name to reason."""
    reasons = ((name, flag.inert(options)) for name, flag, _ in given(options))
    return {name: reason for name, reason in reasons if reason is not None}


_FLAGS = {f.name: f.metadata["flag"] for f in fields(DockerOptions)}
