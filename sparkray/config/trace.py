"""What /proc and the cgroups of a process show when a Docker option acts. Pure.

A `Trace` belongs to the declaration of one option, which names it with its arguments (`READBACK`). It turns the option's
value into expectations of an effective state, as `runtimes.linux.readback.effective_state` reads it. A value that no field
of that state has is read by its address: `status/NAME` is a line of /proc/PID/status, `cgroup/FILE` a file of the process's
own control group.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.privilege import apparmor_is, capabilities_of, capability_names, plain, security_choices
from sparkray.units import format_size, parse_size

if TYPE_CHECKING:
    from sparkray.config.docker import DockerOptions

# The largest page there is: the kernel rounds sizes to whole ones.
_PAGE = 65536
# systemd rounds a CPU quota to whole per cents of a CPU.
_QUOTA_STEP = 0.01
# Field of a state that holds values by their address.
KERNEL = "kernel"
MISSING = object()


@dataclass(frozen=True)
class Expectation:
    """One thing that a state must show.

    Attributes:
        path: Where in the state, key by key.
        wanted: What must stand there, in words.
        holds: Whether a value is that; None when the value does not show it.
        shown: A value in words.
    """

    path: tuple[str, ...]
    wanted: str
    holds: Callable[[Any], bool | None]
    shown: Callable[[Any], str] = str

    def value(self, state: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever stands there
        """The value in a state, or `MISSING`."""
        value: Any = state
        for key in self.path:
            if not isinstance(value, Mapping) or key not in value:
                return MISSING
            value = value[key]
        return value


Rule = Callable[[Any, "DockerOptions"], Sequence[Expectation]]


@dataclass(frozen=True)
class Trace:
    """What an option shows. `reads` are the addresses of values that its rule needs beyond the fields of a state."""

    rule: Rule
    reads: tuple[str, ...] = ()


def field(
    path: str | tuple[str, ...],
    shown: str | Callable[[Any], str] = "{}",
    *,
    holds: Callable[[Any, Any], bool | None] = lambda asked, got: bool(asked == got),
    wanted: Callable[[Any], str] | None = None,
) -> Trace:
    """One field of a state.

    Args:
        path: Where: keys, or one text with dots between them.
        shown: A value in words; or a text with `{}` for the value.
        holds: Whether the value that was asked for and the value of the state agree.
        wanted: What was asked for in words, where `shown` does not have it.
    """
    keys = tuple(path.split(".")) if isinstance(path, str) else path
    text = shown.format if isinstance(shown, str) else shown
    return Trace(lambda value, _: [Expectation(keys, (wanted or text)(value), lambda got: holds(value, got), text)])


def kernel_value(address: str, shown: str = "{}", *, number_list: bool = False) -> Trace:
    """One value that the kernel shows as text.

    Args:
        address: Where it is read: `status/NAME` or `cgroup/FILE`.
        shown: What the value is, for evidence, with `{}` for it.
        number_list: Whether it is a list of numbers (`0-3` is `0,1,2,3`).
    """
    same: Callable[[str], Any] = cpu_numbers if number_list else str

    def agree(asked: object, got: str) -> bool:
        return bool(same(str(asked)) == same(got))

    return replace(field((KERNEL, address), shown, holds=agree), reads=(address,))


def every(*traces: Trace) -> Trace:
    """Several things at once: one that denies the option decides."""
    reads = tuple(address for trace in traces for address in trace.reads)
    return Trace(lambda value, options: [e for trace in traces for e in trace.rule(value, options)], reads)


def when(applies: Callable[[Any], bool], trace: Trace) -> Trace:
    """A trace that only some values leave."""
    return Trace(lambda value, options: trace.rule(value, options) if applies(value) else [], trace.reads)


def namespace(kind: str) -> Trace:
    """The host's namespace for `host`, else one of its own; of another container's nothing is known here."""
    words = {"own": f"its own {kind} namespace", "host": f"the {kind} namespace of the host"}

    def rule(value: str, _: "DockerOptions") -> Sequence[Expectation]:
        wanted = "host" if value == "host" else "own"
        expected = Expectation(("namespaces", kind), words[wanted], lambda got: bool(got == wanted), words.__getitem__)
        return [] if value.startswith("container:") else [expected]

    return Trace(rule)


NO_SHM = when(
    lambda value: value == "none",
    field("shm_filesystem", "one on {}", wanted=lambda _: "no /dev/shm", holds=lambda _, got: got is None),
)
INTERFACES = when(
    lambda value: value in ("none", "bridge"),
    field(
        "interfaces",
        lambda got: f"the interfaces {', '.join(got) or 'none'}",
        wanted=lambda asked: "an interface to the bridge" if asked == "bridge" else "no interface to a bridge",
        holds=lambda asked, got: ("eth0" in got) is (asked == "bridge"),
    ),
)


def _cgroup_parent(value: str, _: "DockerOptions") -> Sequence[Expectation]:
    """The driver cgroupfs has the parent as a path, systemd as a slice; `/` is where Docker's own parent is not."""
    parent = value.strip("/")

    def holds(lines: Sequence[str]) -> bool:
        paths = [line.split(":", 2)[-1] for line in lines]
        return any(f"/{parent}/" in path for path in paths) if parent else not any("/docker/" in path for path in paths)

    return [Expectation(("cgroups",), f"a cgroup below {value}", holds, lambda lines: f"the cgroup {lines[-1]}")]


CGROUP_PARENT = Trace(_cgroup_parent)
CPUS = every(
    field("cgroup_limits.cpuset", "CPUs {}", holds=lambda asked, got: cpu_numbers(got) == cpu_numbers(asked)),
    # the process may have taken fewer for itself since
    field("cpus_allowed", "CPUs {}", holds=lambda asked, got: cpu_numbers(got) <= cpu_numbers(asked)),
)
QUOTA = field(
    "cgroup_limits.cpus",
    lambda got: "no CPU quota" if got < 0 else f"a quota of {got:g} CPUs",
    holds=lambda asked, got: abs(got - asked) <= _QUOTA_STEP,
)


def weights_of(shares: int) -> frozenset[int]:
    """The cgroup version 2 weights that OCI runtimes make of CPU shares.

    The first is linear, 1 + (s - 2) * 9999 / 262142; the second, since runc 1.3.2 and crun 1.23, is
    ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34)) with l = log2 s, which maps 1024 to 100 (opencontainers/cgroups#20).
    """
    bounded = min(max(shares, 2), 262144)
    level = math.log2(bounded)
    curved = 10 ** ((level * level + 125 * level) / 612 - 7 / 34)
    return frozenset({1 + (bounded - 2) * 9999 // 262142, math.ceil(round(curved, 9))})


SHARES = every(
    field("cgroup_limits.cpu_shares", "{} shares"),
    field(
        "cgroup_limits.cpu_weight",
        "weight {}",
        wanted="{} shares".format,
        holds=lambda asked, got: got in weights_of(asked),
    ),
)


def _size_text(value: int) -> str:
    return "no limit" if value < 0 else format_size(value)


def size_limit(name: str, label: str) -> Trace:
    """A limit of the control group in bytes, which the kernel rounds down to whole pages."""

    def holds(asked: str | int, got: int) -> bool:
        count = parse_size(asked)
        return got == count if count < 0 else count - _PAGE < got <= count

    return field(f"cgroup_limits.{name}", lambda value: f"{label} {_size_text(parse_size(value))}", holds=holds)


SHM = field(
    "shm_bytes",
    lambda value: f"a /dev/shm of {format_size(parse_size(value))}",
    holds=lambda asked, got: parse_size(asked) <= got < parse_size(asked) + _PAGE,
)


def resource_limit(name: str) -> Trace:
    """One resource limit, soft and hard."""

    def shown(limits: int | Sequence[int]) -> str:
        numbers = [limits] if isinstance(limits, int) else limits
        return f"{name} {' and '.join(str(limit) for limit in dict.fromkeys(numbers))}"

    return field(f"rlimits.{name}", shown, holds=lambda asked, got: set(got) == {asked})


def _bounding(wanted: str, holds: Callable[[frozenset[str]], bool]) -> Expectation:
    return Expectation(
        ("capabilities_bounding",),
        wanted,
        lambda mask: holds(capability_names(mask)),
        lambda mask: f"the capabilities {', '.join(sorted(capability_names(mask))) or 'none'}",
    )


def _no_filter() -> Expectation:
    return Expectation(("seccomp",), "no seccomp filter", lambda got: got == "0", lambda got: f"seccomp mode {got}")


PRIVILEGED = when(
    bool, Trace(lambda _, __: [_bounding("every capability", lambda names: "SYS_ADMIN" in names), _no_filter()])
)


def _capabilities(value: tuple[str, ...], options: "DockerOptions") -> Sequence[Expectation]:
    """Of those that were named; of ALL, those that the host itself may lack are not asked for."""
    wanted, named = capabilities_of(options), plain(value)
    if "ALL" in named:
        extra = frozenset({"SYS_ADMIN"}) & wanted if "ALL" in plain(options.cap_add) else wanted
        return [_bounding("those capabilities", lambda names: extra <= names <= wanted)]
    return [_bounding("those capabilities", lambda names: names & named == wanted & named)]


CAPABILITIES = Trace(_capabilities)


def _security(_: tuple[str, ...], options: "DockerOptions") -> Sequence[Expectation]:
    chosen = security_choices(options)
    expected = []
    if "no-new-privileges" in chosen:
        expected.append(
            Expectation(("no_new_privs",), "no new privileges", lambda got: got == "1", lambda _: "new ones allowed")
        )
    if "seccomp" in chosen:
        expected.append(_no_filter())
    if (profile := chosen.get("apparmor")) is not None:
        expected.append(
            Expectation(("apparmor",), profile, lambda got: apparmor_is(profile, got), lambda got: f"profile {got}")
        )
    return expected


SECURITY_OPT = Trace(_security)
INIT = when(
    bool,
    field(
        "pid_inside",
        lambda _: "the engine as first process",
        wanted=lambda _: "an init process",
        holds=lambda _, got: bool(got > 1),
    ),
)
READ_ONLY = when(bool, field("root_read_only", lambda _: "a root to write on", wanted=lambda _: "a read-only root"))


def _variable(text: str) -> Expectation:
    name, _, wanted = text.partition("=")
    return Expectation(
        ("environment",),
        text,
        lambda got: bool(got.get(name) == wanted),
        lambda got: f"{name}={got[name]}" if name in got else f"no {name}",
    )


VARIABLES = Trace(lambda value, _: [_variable(text) for text in value])
# What a declaration may name; a function takes the argument that stands there, or several by name.
READBACK: Mapping[str, Trace | Callable[..., Trace]] = {
    "field": field,
    "kernel": kernel_value,
    "namespace": namespace,
    "size_limit": size_limit,
    "resource_limit": resource_limit,
    "no_shm": NO_SHM,
    "interfaces": INTERFACES,
    "cgroup_parent": CGROUP_PARENT,
    "cpus": CPUS,
    "quota": QUOTA,
    "shares": SHARES,
    "shm": SHM,
    "privileged": PRIVILEGED,
    "capabilities": CAPABILITIES,
    "security_opt": SECURITY_OPT,
    "init": INIT,
    "root_read_only": READ_ONLY,
    "variables": VARIABLES,
}


def readback(name: str, argument: object) -> Trace:
    """The trace that a declaration names."""
    made = READBACK[name]
    if isinstance(made, Trace):
        return made
    return made(**argument) if isinstance(argument, Mapping) else made(argument)
