"""What each Docker option must show in the effective state of a process when it acts. Pure.

A state is what `runtimes.linux.readback.effective_state` tells: nothing here asks a container what it thinks. An option that
leaves no trace in /proc (`gpus`, `log_driver`, `runtime`, `device`) has nothing to show and is neither confirmed nor denied.

The rules stand beside the options' declarations in `config.docker`, not in them: they need a state to speak of, and a
flag's text, bounds and factor do not. A test holds that every option has a rule or is named as one without a trace.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.config.docker import DockerOptions, flag_words, given, inert
from sparkray.config.privilege import apparmor_is, capabilities_of, capability_names, plain, security_choices
from sparkray.units import format_size, parse_size

State = Mapping[str, Any]

WITHOUT_TRACE = ("gpus", "log_driver", "runtime", "device")
"""Options of which /proc shows nothing."""
_PAGE = 65536
"""The largest page there is: the kernel rounds sizes to whole ones."""
_QUOTA_STEP = 0.01
"""systemd rounds a CPU quota to whole per cents of a CPU."""


@dataclass(frozen=True)
class Expectation:
    """One thing that a state must show.

    Attributes:
        field: Where in the state, with dots between keys.
        wanted: What must stand there, in words.
        holds: Whether a value is that; None when the value cannot tell.
        shown: A value in words.
    """

    field: str
    wanted: str
    holds: Callable[[Any], bool | None]
    shown: Callable[[Any], str] = str


@dataclass(frozen=True)
class Shown:
    """What a state shows of one option. `acts`: it has what was asked, it has something else, or (None) it is not told."""

    option: str
    flag: str
    acts: bool | None
    got: str

    @property
    def sentence(self) -> str:
        """Flag, asked and got, for evidence."""
        return f"asked {self.flag}, got {self.got}"


def readings(options: DockerOptions, state: State) -> tuple[Shown, ...]:
    """What the state shows of every option that can act and leaves a trace, in the order of declaration.

    Several fields may speak of one option: one that denies it decides; without one, one that confirms it does.
    """
    cannot = cannot_act(options)
    found = []
    for name, _, _ in given(options):
        expected = () if name in cannot else expectations(name, options)
        if expected:
            found.append(_shown(name, options, expected, state))
    return tuple(found)


def _shown(name: str, options: DockerOptions, expected: Sequence[Expectation], state: State) -> Shown:
    judged = [(e, value, e.holds(value)) for e in expected if (value := _at(state, e.field)) is not _MISSING]
    decided = sorted((j for j in judged if j[2] is not None), key=lambda j: bool(j[2]))
    if not decided:
        return Shown(name, words_of(name, options), None, "nothing that could be read back")
    expectation, value, holds = decided[0]
    got = expectation.wanted if holds else expectation.shown(value)
    return Shown(name, words_of(name, options), holds, got)


def expectations(name: str, options: DockerOptions) -> tuple[Expectation, ...]:
    """What a state must show of an option that was given; empty where nothing would.

    Raises:
        KeyError: No option has that name.
    """
    return tuple(_RULES[name](getattr(options, name), options))


def cannot_act(options: DockerOptions) -> dict[str, str]:
    """Options that cannot act beside the others, name to reason: those of `docker.inert`, and those that dockerd ignores.

    dockerd gives a privileged container every capability and neither seccomp nor AppArmor, whatever else it is told, and
    starts no init process in the host's PID namespace (moby, daemon/oci_linux.go).
    """
    reasons = inert(options)
    if options.privileged:
        for name in ("cap_add", "cap_drop"):
            if getattr(options, name) is not None:
                reasons[name] = f"{words_of(name, options)} cannot act under --privileged, which gives every capability"
        if options.security_opt and not security_choices(options):
            words = words_of("security_opt", options)
            reasons["security_opt"] = f"{words} cannot act under --privileged, which has neither seccomp nor AppArmor"
    if options.init and options.pid == "host":
        reasons["init"] = "--init cannot act under --pid=host: Docker starts it only in a PID namespace of its own"
    return reasons


def words_of(name: str, options: DockerOptions) -> str:
    """One option as `docker run` has it; one that says no (`init`: false) has no flag, and goes by its name."""
    value = getattr(options, name)
    return " ".join(flag_words(DockerOptions(**{name: value}))) or f"{name}={value}"


def cpu_numbers(text: str) -> frozenset[int]:
    """The CPUs of a list as the kernel and Docker write it (`0-3,6`).

    Raises:
        ValueError: The text is no list.
    """
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


_MISSING = object()


def _at(state: State, field: str) -> Any:  # noqa: ANN401 - whatever stands there
    value: Any = state
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _namespace(kind: str, wanted: str) -> Expectation:
    words = {"own": f"its own {kind} namespace", "host": f"the {kind} namespace of the host"}
    return Expectation(f"namespaces.{kind}", words[wanted], lambda got: bool(got == wanted), lambda got: words[got])


def _ipc(value: str, _: DockerOptions) -> Sequence[Expectation]:
    if value == "host":
        return [_namespace("ipc", "host")]
    if value == "none":
        nothing = Expectation("shm_filesystem", "no /dev/shm", lambda got: got is None, lambda got: f"one on {got}")
        return [_namespace("ipc", "own"), nothing]
    return [_namespace("ipc", "own")] if value in ("private", "shareable") else []


def _size_in_words(value: int) -> str:
    return "no limit" if value < 0 else format_size(value)


def _shm_size(value: str | int, _: DockerOptions) -> Sequence[Expectation]:
    size = parse_size(value)
    return [
        Expectation(
            "shm_bytes",
            f"a /dev/shm of {format_size(size)}",
            lambda got: size <= got < size + _PAGE,
            lambda got: f"a /dev/shm of {format_size(got)}",
        )
    ]


def _network(value: str, _: DockerOptions) -> Sequence[Expectation]:
    if value not in ("host", "none", "bridge"):
        return []
    if value == "host":
        return [_namespace("net", "host")]
    wanted = "an interface to the bridge" if value == "bridge" else "no interface to a bridge"
    interfaces = Expectation(
        "interfaces",
        wanted,
        lambda got: ("eth0" in got) is (value == "bridge"),
        lambda got: f"the interfaces {', '.join(got) or 'none'}",
    )
    return [_namespace("net", "own"), interfaces]


def _of_namespace(kind: str) -> "Rule":
    def rule(value: str, _: DockerOptions) -> Sequence[Expectation]:
        return [_namespace(kind, "host" if value == "host" else "own")]

    return rule


def _cgroup_parent(value: str, _: DockerOptions) -> Sequence[Expectation]:
    """The driver cgroupfs has the parent as a path, systemd as a slice; `/` is where Docker's own parent is not."""
    parent = value.strip("/")

    def holds(lines: Sequence[str]) -> bool:
        paths = [line.split(":", 2)[-1] for line in lines]
        return any(f"/{parent}/" in path for path in paths) if parent else not any("/docker/" in path for path in paths)

    return [Expectation("cgroups", f"a cgroup below {value}", holds, lambda lines: f"the cgroup {lines[-1]}")]


def _cpuset(value: str, _: DockerOptions) -> Sequence[Expectation]:
    """The group has exactly these; the process may have taken fewer for itself since."""
    asked = cpu_numbers(value)

    def shown(got: object) -> str:
        return f"CPUs {got}"

    return [
        Expectation("cgroup_limits.cpuset", shown(value), lambda got: cpu_numbers(got) == asked, shown),
        Expectation("cpus_allowed", shown(value), lambda got: cpu_numbers(got) <= asked, shown),
    ]


def _cpus(value: float, _: DockerOptions) -> Sequence[Expectation]:
    return [
        Expectation(
            "cgroup_limits.cpus",
            f"a quota of {value:g} CPUs",
            lambda got: abs(got - value) <= _QUOTA_STEP,
            lambda got: "no CPU quota" if got < 0 else f"a quota of {got:g} CPUs",
        )
    ]


def weights_of(shares: int) -> frozenset[int]:
    """The cgroup version 2 weights that OCI runtimes make of CPU shares.

    The first is linear, 1 + (s - 2) * 9999 / 262142; the second, since runc 1.3.2 and crun 1.23, is
    ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34)) with l = log2 s, which maps 1024 to 100 (opencontainers/cgroups#20).
    """
    bounded = min(max(shares, 2), 262144)
    level = math.log2(bounded)
    curved = 10 ** ((level * level + 125 * level) / 612 - 7 / 34)
    return frozenset({1 + (bounded - 2) * 9999 // 262142, math.ceil(round(curved, 9))})


def _cpu_shares(value: int, _: DockerOptions) -> Sequence[Expectation]:
    weights = weights_of(value)
    return [
        Expectation("cgroup_limits.cpu_shares", f"{value} shares", lambda got: got == value, lambda g: f"{g} shares"),
        Expectation("cgroup_limits.cpu_weight", f"{value} shares", lambda got: got in weights, lambda g: f"weight {g}"),
    ]


def _limit_of(field: str, what: str) -> "Rule":
    """A size that the kernel rounds down to whole pages."""

    def rule(value: str | int, _: DockerOptions) -> Sequence[Expectation]:
        size = parse_size(value)

        def holds(got: int) -> bool:
            return got == size if size < 0 else size - _PAGE < got <= size

        def shown(got: int) -> str:
            return f"{what} {_size_in_words(got)}"

        return [Expectation(f"cgroup_limits.{field}", shown(size), holds, shown)]

    return rule


def _resource(name: str) -> "Rule":
    def rule(value: int, _: DockerOptions) -> Sequence[Expectation]:
        def shown(got: Sequence[int]) -> str:
            return f"{name} {' and '.join(str(limit) for limit in dict.fromkeys(got))}"

        return [Expectation(f"rlimits.{name}", f"{name} {value}", lambda got: set(got) == {value}, shown)]

    return rule


def _oom_score_adj(value: int, _: DockerOptions) -> Sequence[Expectation]:
    return [Expectation("oom_score_adj", str(value), lambda got: bool(got == value))]


def _bounding(wanted: str, holds: Callable[[frozenset[str]], bool]) -> Expectation:
    return Expectation(
        "capabilities_bounding",
        wanted,
        lambda mask: holds(capability_names(mask)),
        lambda mask: f"the capabilities {', '.join(sorted(capability_names(mask))) or 'none'}",
    )


def _privileged(value: bool, _: DockerOptions) -> Sequence[Expectation]:  # noqa: FBT001 - the option's own type
    if not value:
        return []
    seccomp = Expectation("seccomp", "no seccomp filter", lambda got: got == "0", lambda got: f"seccomp mode {got}")
    return [_bounding("every capability", lambda names: "SYS_ADMIN" in names), seccomp]


def _capabilities(value: tuple[str, ...], options: DockerOptions) -> Sequence[Expectation]:
    """Of those that were named; of ALL, those that the host itself may lack are not asked for."""
    wanted, named = capabilities_of(options), plain(value)
    if "ALL" in named:
        extra = frozenset({"SYS_ADMIN"}) & wanted if "ALL" in plain(options.cap_add) else wanted
        return [_bounding("those capabilities", lambda names: extra <= names <= wanted)]
    return [_bounding("those capabilities", lambda names: names & named == wanted & named)]


def _security(_: tuple[str, ...], options: DockerOptions) -> Sequence[Expectation]:
    chosen = security_choices(options)
    found = []
    if "no-new-privileges" in chosen:
        found.append(
            Expectation("no_new_privs", "no new privileges", lambda got: got == "1", lambda _: "new ones allowed")
        )
    if "seccomp" in chosen:
        found.append(Expectation("seccomp", "no filter", lambda got: got == "0", lambda got: f"seccomp mode {got}"))
    if (profile := chosen.get("apparmor")) is not None:
        found.append(
            Expectation("apparmor", profile, lambda got: apparmor_is(profile, got), lambda got: f"profile {got}")
        )
    return found


def _init(value: bool, _: DockerOptions) -> Sequence[Expectation]:  # noqa: FBT001 - the option's own type
    first = Expectation("pid_inside", "an init process", lambda got: got > 1, lambda _: "the engine as first process")
    return [first] if value else []


def _read_only(value: bool, _: DockerOptions) -> Sequence[Expectation]:  # noqa: FBT001 - the option's own type
    root = Expectation("root_read_only", "a read-only root", lambda got: got is True, lambda _: "a root to write on")
    return [root] if value else []


def _variable(text: str) -> Expectation:
    name, _, wanted = text.partition("=")
    return Expectation(
        "environment",
        text,
        lambda got: bool(got.get(name) == wanted),
        lambda got: f"{name}={got[name]}" if name in got else f"no {name}",
    )


def _env(value: tuple[str, ...], _: DockerOptions) -> Sequence[Expectation]:
    return [_variable(text) for text in value]


def _nothing(_: object, __: DockerOptions) -> Sequence[Expectation]:
    return []


Rule = Callable[[Any, DockerOptions], Sequence[Expectation]]
_RULES: Mapping[str, Rule] = {
    "ipc": _ipc,
    "shm_size": _shm_size,
    "network": _network,
    "pid": _of_namespace("pid"),
    "uts": _of_namespace("uts"),
    "cgroupns": _of_namespace("cgroup"),
    "cgroup_parent": _cgroup_parent,
    "cpuset_cpus": _cpuset,
    "cpus": _cpus,
    "cpu_shares": _cpu_shares,
    "memory": _limit_of("memory_bytes", "memory up to"),
    "memory_swap": _limit_of("memory_swap_bytes", "memory and swap up to"),
    "ulimit_memlock": _resource("memlock"),
    "ulimit_stack": _resource("stack"),
    "ulimit_nofile": _resource("nofile"),
    "oom_score_adj": _oom_score_adj,
    "privileged": _privileged,
    "cap_add": _capabilities,
    "cap_drop": _capabilities,
    "security_opt": _security,
    "init": _init,
    "read_only": _read_only,
    "env": _env,
    **dict.fromkeys(WITHOUT_TRACE, _nothing),
}
