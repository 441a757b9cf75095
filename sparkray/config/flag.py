"""The declaration of one Docker option, and the kinds of values that options take. Pure.

`docker.DockerOptions` has one declaration per option. A kind knows how a value is written for `docker run`, converted for
the SDK, checked, and brought into one spelling for comparison.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.gpu_choice import names_a_uuid
from sparkray.config.privilege import DEFAULT_CAPABILITIES, ROOT_CAPABILITIES, capabilities_of, plain, security_choices
from sparkray.units import format_size, parse_size

if TYPE_CHECKING:
    from sparkray.config.docker import DockerOptions
    from sparkray.config.trace import Trace

Security = Literal["none", "weakens", "dangerous"]
_LIST_OF_NUMBERS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_SECURITY_NAMES = ("seccomp", "apparmor", "label", "no-new-privileges")


def _one(value: object) -> list[str]:
    return [str(value)]


def _same(value: Any) -> Any:  # noqa: ANN401 - an option's value
    return value


def _accept(_: object) -> None:
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        words: Value to the words that follow the flag, one per repetition; an empty word for a bare flag.
        convert: Value to what the SDK takes.
        check: What is wrong with a value, or None.
        canonical: Value to one spelling that JSON can hold: values that mean the same are equal in it.
        examples: Every value, where there are few.
    """

    words: Callable[[Any], list[str]] = _one
    convert: Callable[[Any], Any] = _same
    check: Callable[[Any], str | None] = _accept
    canonical: Callable[[Any], Any] = _same
    examples: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Flag:
    """What one Docker option is, apart from its value.

    Attributes:
        text: The flag as `docker run` spells it.
        kind: Kind of its values.
        why: What it is for.
        examples: Values that the contract tests create and start containers with, where not those of the kind. One is not
            Docker's default.
        argument: Keyword of `docker.models.containers.create`; that of the flag's own name where none is given.
        beside: Options that the examples need in order to act.
        unit: Unit of a number.
        security: How much isolation it trades away: a grade, or a function of the options.
        safe: Values that trade nothing away.
        cannot_act: Why the option cannot act beside the others (`without --memory`); None when it can.
        workload: The only kind of workload under which it can act; None is any.
        limits: Whether it limits what the container's control group may use.
        default: What Docker does without the option, in canonical spelling, or a function of the other options. None
            where it differs between machines.
        effect: What the option effectively asks for, beside the others; its canonical value where no function is given.
        effect_name: Name of the effect where two options share one.
        trace: What a process shows when the option acts; None where /proc and the cgroups show nothing.
        compare_as_asked: Its trace holds paths or variables of one run, so that runs are compared by what was asked.
    """

    text: str
    kind: Kind
    why: str
    examples: tuple[Any, ...] = ()
    argument: str = ""
    beside: dict[str, Any] = field(default_factory=dict)
    unit: str = ""
    security: Security | Callable[["DockerOptions"], Security] = "none"
    safe: tuple[Any, ...] = ()
    cannot_act: Callable[["DockerOptions"], str | None] = _accept
    workload: Literal["offline", "serve"] | None = None
    limits: bool = False
    default: Any = None
    effect: Callable[["DockerOptions"], Any] | None = None
    effect_name: str | None = None
    trace: "Trace | None" = None
    compare_as_asked: bool = False

    @property
    def values(self) -> tuple[Any, ...]:
        """Its examples."""
        return self.examples or self.kind.examples

    @property
    def keyword(self) -> str:
        """The SDK's keyword."""
        return self.argument or self.text.lstrip("-").replace("-", "_")

    def grade(self, value: Any, options: "DockerOptions") -> Security:  # noqa: ANN401 - an option's value
        """How much isolation a value trades away beside the other options."""
        if value in self.safe:
            return "none"
        return self.security(options) if callable(self.security) else self.security

    def words(self, value: Any) -> list[str]:  # noqa: ANN401 - an option's value
        """The option as words of `docker run`; none for a bare flag that is false."""
        return [f"{self.text}={word}" if word else self.text for word in self.kind.words(value)]


TEXT = Kind()
WORDS = Kind(words=list, convert=list)
SWITCH = Kind(words=lambda value: [""] if value else [], examples=(True, False))


def choice(*known: str, of_container: bool = False, **changes: Any) -> Kind:  # noqa: ANN401 - functions of `Kind`
    """One of some words, and `container:NAME` for a namespace that containers can share."""

    def check(value: str) -> str | None:
        if value in known or (of_container and value.startswith("container:")):
            return None
        return f"{value!r} is not one of {', '.join(known)}"

    return Kind(check=check, examples=known, **changes)


def size(least: int) -> Kind:
    """A size in bytes, with an optional suffix."""

    def check(value: str | int) -> str | None:
        try:
            count = parse_size(value)
        except ValueError as error:
            return str(error)
        return None if count >= least else f"{value!r} is below the least that acts, {format_size(least)}"

    def words(value: str | int) -> list[str]:
        count = parse_size(value)
        return [format_size(count) if count >= 0 else str(count)]

    return Kind(words=words, convert=parse_size, check=check, canonical=parse_size)


def number(low: float | None = None, high: float | None = None, *, above: float | None = None, scale: int = 1) -> Kind:
    """A number between inclusive bounds, or above one; the SDK takes it `scale` times as large."""

    def check(value: float) -> str | None:
        if above is not None and not value > above:
            return f"{value!r} is not above {above}"
        if (low is not None and value < low) or (high is not None and value > high):
            return f"{value!r} is outside {'' if low is None else low}..{'' if high is None else high}"
        return None

    convert = _same if scale == 1 else lambda value: round(value * scale)
    return Kind(check=check, convert=convert, canonical=convert)


def number_or_unlimited() -> Kind:
    """A whole number above 0, or -1 for no limit."""

    def check(value: int) -> str | None:
        return None if value > 0 or value == -1 else f"{value!r} is neither above 0 nor -1, which means unlimited"

    return Kind(check=check)


NUMBERS = Kind(
    check=lambda v: None if _LIST_OF_NUMBERS.fullmatch(v) else f"{v!r} is not a list of numbers: write 0-3 or 0,2,5-7",
    canonical=lambda value: sorted(cpu_numbers(value)),
)


def rlimit(name: str) -> Kind:
    """One resource limit; soft and hard are equal, as `docker run` takes a single number."""
    return Kind(
        words=lambda value: [f"{name}={value}"],
        convert=lambda value: [{"Name": name, "Soft": value, "Hard": value}],
        check=lambda value: None if value >= -1 else f"{value!r} is below -1, which means unlimited",
    )


def _gpu_words(value: str) -> list[str]:
    return [value if value == "all" or value.isdigit() else '"device=' + value.removeprefix("device=") + '"']


def _gpu_request(value: str) -> list[dict[str, object]]:
    request: dict[str, object] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if value == "all":
        return [{**request, "Count": -1}]
    if value.isdigit():
        return [{**request, "Count": int(value)}]
    return [{**request, "Count": 0, "DeviceIDs": value.removeprefix("device=").split(",")}]


GPUS = Kind(words=_gpu_words, convert=_gpu_request, canonical=_gpu_request)


def _capability_names(value: tuple[str, ...]) -> list[str]:
    """Full names in order, as newer command lines send them: an older one passes on what it was given."""
    upper = {name.upper() for name in value}
    return sorted(name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper)


CAPABILITIES = Kind(words=_capability_names, convert=_capability_names)
DEFAULT_EFFECT = sorted(DEFAULT_CAPABILITIES)


def capabilities_effect(options: "DockerOptions") -> list[str]:
    """The capabilities that the container gets, for both options that change them."""
    return sorted(capabilities_of(options))


def added_capabilities_grade(options: "DockerOptions") -> Security:
    """Some capabilities let a process leave its container."""
    return "dangerous" if plain(options.cap_add) & ROOT_CAPABILITIES else "weakens"


def _check_security_opt(value: tuple[str, ...]) -> str | None:
    for option in value:
        name, _, setting = option.replace(":", "=", 1).partition("=")
        if name == "seccomp" and setting != "unconfined":
            return f"{option!r}: write seccomp=unconfined; the command line would read any other profile from a file"
        if name not in _SECURITY_NAMES:
            return f"{option!r} does not begin with one of {', '.join(_SECURITY_NAMES)}"
    return None


SECURITY_OPT = Kind(words=list, convert=list, check=_check_security_opt)


def security_opt_grade(options: "DockerOptions") -> Security:
    """Only `no-new-privileges` trades nothing away."""
    return "none" if set(security_choices(options)) <= {"no-new-privileges"} else "weakens"


def _check_device(value: tuple[str, ...]) -> str | None:
    """Paths of the host, the same inside; a CDI name goes another way into the API than the other devices."""
    wrong = next((name for name in value if ":" in name or not name.startswith("/dev/")), None)
    return None if wrong is None else f"{wrong!r} is not a path below /dev"


DEVICES = Kind(words=list, convert=lambda value: [f"{name}:{name}:rwm" for name in value], check=_check_device)


def _variables(value: tuple[str, ...]) -> dict[str, str]:
    return {name: text for name, _, text in (item.partition("=") for item in value)}


def _check_variables(value: tuple[str, ...]) -> str | None:
    for text in value:
        if not _VARIABLE.match(text):
            return f"{text!r} is not a variable: write NAME=VALUE"
        if names_a_uuid(_variables((text,))):
            return f"{text!r} names a GPU by UUID, which trtllm-bench cannot read: write its index"
    return None


VARIABLES = Kind(words=list, convert=_variables, check=_check_variables, canonical=_variables)


def no_own_shm(options: "DockerOptions") -> str | None:
    """Why `--shm-size` cannot act."""
    if options.ipc in ("host", "none"):
        return f"under --ipc={options.ipc}: the container does not get a /dev/shm of its own"
    return None


def has_every_capability(options: "DockerOptions") -> str | None:
    """Why an option for capabilities cannot act."""
    return "under --privileged, which gives every capability" if options.privileged else None


def unconfined(options: "DockerOptions") -> str | None:
    """Why `--security-opt` cannot act."""
    if options.privileged and options.security_opt and not security_choices(options):
        return "under --privileged, which has neither seccomp nor AppArmor"
    return None
