"""One entry of `flags.yaml`: what a Docker option is, apart from its value. Pure.

A kind (`KINDS`) is what the values of a type have in common: how one is written for `docker run`, converted for the SDK,
checked, and brought into one spelling for comparison. What a file cannot state is a function here, named in the entry.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sparkray.config.boundary import STRICT
from sparkray.config.cpu_list import cpu_numbers, not_a_list
from sparkray.config.gpu_access import is_cdi_name
from sparkray.config.gpu_choice import names_a_uuid
from sparkray.config.privilege import ROOT_CAPABILITIES, capabilities_of, plain, security_choices
from sparkray.config.trace import READBACK, Trace, every, readback
from sparkray.units import format_size, parse_size, short

if TYPE_CHECKING:
    from sparkray.config.docker import DockerOptions

Security = Literal["none", "weakens", "dangerous"]
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_MOST = 2**63 - 1
_SECURITY_NAMES = ("seccomp", "apparmor", "label", "no-new-privileges")


@dataclass(frozen=True)
class Kind:
    """What the values of one type have in common.

    Attributes:
        python: Type of a value.
        words: Value to the words that follow the flag, one per repetition; an empty word for a bare flag.
        convert: Value to what the SDK takes.
        requests: Value to device requests of the API, for what is no value of the flag's own argument.
        check: What is wrong with a value, or None.
        canonical: Value to one spelling that JSON can hold: values that mean the same are equal in it.
        examples: All values, if they can be listed.
    """

    python: Any = str
    words: Callable[[Any], list[str]] = lambda value: [str(value)]
    convert: Callable[[Any], Any] = lambda value: value
    requests: Callable[[Any], list[dict[str, object]]] = lambda _: []
    check: Callable[[Any], str | None] = lambda _: None
    canonical: Callable[[Any], Any] = lambda value: value
    examples: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Hindrance:
    """Why an option cannot act: `because` holds beside options with one of these values (null: not given).

    `without_effect`: only when the option also changes nothing. `{ipc}` in `because` is the value of that option.
    """

    __pydantic_config__ = STRICT

    beside: Mapping[str, tuple[Any, ...]]
    because: str
    without_effect: bool = False


@dataclass(frozen=True)
class Flag:
    """One Docker option.

    Attributes:
        name: Name of the option, the key of its entry.
        why: What it is for.
        text: The flag as `docker run` spells it; that of the name where an entry has none.
        argument: Keyword of `docker.models.containers.create`; the name where an entry has none.
        type: Name of its kind in `KINDS`.
        unit: Unit of a number.
        examples: Values that the contract tests create and start containers with, where not those of the kind. One is not
            Docker's default.
        beside: Options that the examples need in order to act.
        choices: The values of a choice; `of_container` adds `container:NAME`, for namespaces that containers can share.
        same: Values of a choice that mean the same as another.
        low: Least value; `high` is the greatest, `above` a bound that is not a value itself.
        unlimited: Whether -1 is a value too, and means no limit.
        least: Least size.
        scale: Factor from a value to what the SDK takes.
        security: How much isolation it trades away; `grade_by` names a function of the options instead.
        safe: Values that trade nothing away.
        cannot_act: What keeps it from acting.
        workload: The only kind of workload under which it can act; None is any.
        limits: Whether it limits what the container's control group may use.
        default: What Docker does without it. `default_by` names a function of the options. Without either, that of
            `effect_by`; else it differs between machines.
        effect_by: Names the function that gives what the options effectively ask for, where it is not the value.
        readback: What a process shows when it acts, by name and arguments; none where /proc and the cgroups show nothing.
        compare_as_asked: Its trace holds paths or variables of one run, so that runs are compared by what was asked.

    Raises:
        ValueError: An unknown type, function or read-back.
    """

    __pydantic_config__ = STRICT

    name: str
    why: str
    text: str
    argument: str
    type: str = "text"
    unit: str = ""
    examples: tuple[Any, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    of_container: bool = False
    same: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    above: float | None = None
    unlimited: bool = False
    least: str = "1"
    scale: int = 1
    security: Security = "none"
    grade_by: str | None = None
    safe: tuple[Any, ...] = ()
    cannot_act: tuple[Hindrance, ...] = ()
    workload: Literal["offline", "serve"] | None = None
    limits: bool = False
    default: Any = None
    default_by: str | None = None
    effect_by: str | None = None
    readback: Mapping[str, Any] = field(default_factory=dict)
    compare_as_asked: bool = False

    def __post_init__(self) -> None:
        _known("type", self.type, KINDS)
        _known("grade_by", self.grade_by, _GRADES)
        _known("default_by", self.default_by, _DEFAULTS)
        _known("effect_by", self.effect_by, _EFFECTS)
        for name in self.readback:
            _known("readback", name, READBACK)

    @cached_property
    def kind(self) -> Kind:
        """What its values have in common with others of the type."""
        return KINDS[self.type](self)

    @cached_property
    def trace(self) -> Trace | None:
        """What a process shows when it acts; None where nothing shows it."""
        traces = [readback(name, argument) for name, argument in self.readback.items()]
        return every(*traces) if traces else None

    @property
    def values(self) -> tuple[Any, ...]:
        """Its examples."""
        return tuple(tuple(v) if isinstance(v, list) else v for v in self.examples) or self.kind.examples

    def grade(self, value: Any, options: "DockerOptions") -> Security:  # noqa: ANN401 - an option's value
        """How much isolation a value trades away beside the other options."""
        if value in self.safe:
            return "none"
        return self.security if self.grade_by is None else _GRADES[self.grade_by](options)

    def words(self, value: Any) -> list[str]:  # noqa: ANN401 - an option's value
        """The option as words of `docker run`; none for a bare flag that is false."""
        if not self.text:
            return self.kind.words(value)
        return [f"{self.text}={word}" if word else self.text for word in self.kind.words(value)]

    @property
    def effect_name(self) -> str:
        """Name of the effect: options that share one change the same thing."""
        return self.effect_by or self.name

    def effect(self, options: "DockerOptions") -> Any:  # noqa: ANN401 - an option's value
        """What the option effectively asks for, beside the others."""
        if self.effect_by is not None:
            return _EFFECTS[self.effect_by](options)
        return self.kind.canonical(getattr(options, self.name))

    def default_of(self, options: "DockerOptions") -> Any:  # noqa: ANN401 - an option's value
        """What Docker does without the option, in canonical spelling; None where that differs between machines."""
        if self.default_by is not None:
            return _DEFAULTS[self.default_by](options)
        if self.effect_by is not None:
            return _EFFECTS[self.effect_by](type(options)())
        return self._default

    @cached_property
    def _default(self) -> Any:  # noqa: ANN401 - an option's value
        return None if self.default is None else self.kind.canonical(self.default)

    def hindrance(self, options: "DockerOptions") -> str | None:
        """Why it cannot act beside the others (`without --memory`); None when it can."""
        for one in self.cannot_act:
            beside = all(getattr(options, name) in values for name, values in one.beside.items())
            if beside and not (one.without_effect and self.effect(options)):
                return one.because.format_map(vars(options))
        return None


def written(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one entry, with those that follow from its name."""
    return {"text": f"--{name.replace('_', '-')}", "argument": name, **entry, "name": name}


def declared(name: str, entry: Mapping[str, Any]) -> Flag:
    """The declaration of one entry, taken at its word: the file ships, and a test reads it strictly."""
    hindrances = tuple(Hindrance(**one) for one in entry.get("cannot_act", ()))
    return Flag(**{**written(name, entry), "cannot_act": hindrances})


def _known(key: str, name: str | None, names: Mapping[str, Any]) -> None:
    if name is not None and name not in names:
        raise ValueError(f"unknown {key} {name!r}: known are {', '.join(names)}")


def _choice(flag: Flag, convert: Callable[[Any], Any] = str) -> Kind:
    def check(value: str) -> str | None:
        if value in flag.choices or (flag.of_container and value.startswith("container:")):
            return None
        return f"{value!r} is not one of {', '.join(flag.choices)}"

    return Kind(check=check, convert=convert, canonical=lambda v: flag.same.get(v, v), examples=tuple(flag.choices))


def _size(flag: Flag) -> Kind:
    least = parse_size(flag.least)

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


def _number(flag: Flag) -> Kind:
    bounds = ["" if bound is None else f"{bound:g}" for bound in (flag.low, flag.high)]

    def check(value: float) -> str | None:
        if not abs(value * flag.scale) <= _MOST:  # not a number, too
            return f"{short(value)} is not a number that Docker takes"
        if flag.unlimited and value == -1:
            return None
        if flag.above is not None and not value > flag.above:
            what = f"neither above {flag.above:g} nor -1, which means unlimited"
            return f"{value!r} is {what if flag.unlimited else f'not above {flag.above:g}'}"
        if (flag.low is not None and value < flag.low) or (flag.high is not None and value > flag.high):
            return f"{value!r} is outside {bounds[0]}..{bounds[1]}"
        return None

    def convert(value: float) -> float:
        return value if flag.scale == 1 else round(value * flag.scale)

    return Kind(int if flag.type == "int" else float, check=check, convert=convert, canonical=convert)


def _rlimit(flag: Flag) -> Kind:
    """Soft and hard are equal, as `docker run` takes a single number."""
    name = flag.name.removeprefix("ulimit_")
    return Kind(
        int,
        words=lambda value: [f"{name}={value}"],
        convert=lambda value: [{"Name": name, "Soft": value, "Hard": value}],
        check=lambda value: (
            None if -1 <= value <= _MOST else f"{short(value)} is outside -1..{_MOST}; -1 means unlimited"
        ),
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


def _capability_names(value: tuple[str, ...]) -> list[str]:
    """Full names in order, as newer command lines send them: an older one passes on what it was given."""
    upper = {name.upper() for name in value}
    return sorted(name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper)


def _check_security_opt(value: tuple[str, ...]) -> str | None:
    for option in value:
        name, _, setting = option.replace(":", "=", 1).partition("=")
        if name == "seccomp" and setting != "unconfined":
            return f"{option!r}: write seccomp=unconfined; the command line would read any other profile from a file"
        if name not in _SECURITY_NAMES:
            return f"{option!r} does not begin with one of {', '.join(_SECURITY_NAMES)}"
    return None


def _check_device(value: tuple[str, ...]) -> str | None:
    """Paths of the host, the same inside, and names of CDI devices."""
    known = (is_cdi_name(name) or (name.startswith("/dev/") and ":" not in name) for name in value)
    wrong = next((name for name, good in zip(value, known, strict=True) if not good), None)
    return None if wrong is None else f"{wrong!r} is neither a path below /dev nor a CDI name (vendor/class=name)"


def _device_files(value: tuple[str, ...]) -> list[str]:
    return [f"{name}:{name}:rwm" for name in value if not is_cdi_name(name)]


def _cdi_requests(value: tuple[str, ...]) -> list[dict[str, object]]:
    """CDI names as Docker's command line sends them, all in one request."""
    names = [name for name in value if is_cdi_name(name)]
    return [{"Driver": "cdi", "Count": 0, "DeviceIDs": names}] if names else []


def _check_words(value: tuple[str, ...]) -> str | None:
    wrong = next((word for word in value if not word.startswith("--")), None)
    return None if wrong is None else f"{wrong!r} is no option: write --NAME=VALUE"


def _variables(value: tuple[str, ...]) -> dict[str, str]:
    return {name: text for name, _, text in (item.partition("=") for item in value)}


def _check_variables(value: tuple[str, ...]) -> str | None:
    for text in value:
        if not _VARIABLE.match(text):
            return f"{text!r} is not a variable: write NAME=VALUE"
        if names_a_uuid(_variables((text,))):
            return f"{text!r} names a GPU by UUID, which trtllm-bench cannot read: write its index"
    return None


def _list(**changes: Any) -> Callable[[Flag], Kind]:  # noqa: ANN401 - functions of `Kind`
    return lambda _: Kind(**{"python": tuple[str, ...], "words": list, "convert": list, **changes})


KINDS: Mapping[str, Callable[[Flag], Kind]] = {
    "text": lambda _: Kind(),
    "choice": _choice,
    "log_driver": lambda flag: _choice(flag, lambda value: {"Type": value, "Config": {}}),
    "size": _size,
    "int": _number,
    "float": _number,
    "number_list": lambda _: Kind(check=not_a_list, canonical=lambda value: sorted(cpu_numbers(value))),
    "switch": lambda _: Kind(bool, words=lambda value: [""] if value else [], examples=(True, False)),
    "rlimit": _rlimit,
    "gpus": lambda _: Kind(words=_gpu_words, convert=_gpu_request, canonical=_gpu_request),
    "capabilities": _list(words=_capability_names, convert=_capability_names),
    "security_opt": _list(check=_check_security_opt),
    "devices": _list(check=_check_device, convert=_device_files, requests=_cdi_requests),
    "variables": _list(check=_check_variables, convert=_variables, canonical=_variables),
    "words": _list(check=_check_words),
}


def _grade_of_added(options: "DockerOptions") -> Security:
    """Some capabilities let a process leave its container."""
    return "dangerous" if plain(options.cap_add) & ROOT_CAPABILITIES else "weakens"


def _grade_of_choices(options: "DockerOptions") -> Security:
    """Only `no-new-privileges` trades nothing away."""
    return "none" if set(security_choices(options)) <= {"no-new-privileges"} else "weakens"


_GRADES: Mapping[str, Callable[["DockerOptions"], Security]] = {
    "added_capabilities": _grade_of_added,
    "security_opt": _grade_of_choices,
}
_EFFECTS: Mapping[str, Callable[["DockerOptions"], Any]] = {
    "capabilities": lambda options: sorted(capabilities_of(options)),
    "security_opt": security_choices,
}
_DEFAULTS: Mapping[str, Callable[["DockerOptions"], Any]] = {
    # Docker's limit on memory and swap together, from that on memory (moby, daemon: adaptContainerSettings)
    "twice_memory": lambda options: 2 * parse_size(options.memory) if options.memory else None,
}
