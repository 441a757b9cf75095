"""What may be searched: Docker options as factors with levels, and how a choice of levels becomes options. Pure.

A space is a YAML file in `conf/spaces`. A factor has levels; a level names the options (and what else) it changes in the
baseline, whose own setting is every factor's first level and has no line in the file. Which levels a host can honour, and
which of them can act at all, is judged apart, in `config.feasible_levels`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparkray.config.boundary import STRICT
from sparkray.config.docker import DockerOptions, flag_of, given, grade_of, option_names
from sparkray.config.flag import Security
from sparkray.units import did_you_mean

# The label of every factor's first level: the option as the baseline has it.
BASELINE = "baseline"
# Keys of a level that are no flags: the runs' protocol, where the model lies, a host setting, an older key of CDI names.
OUTSIDE = ("protocol", "model_from", "host", "cdi")
# What `cpuset_cpus` may name in place of numbers, which differ from machine to machine.
SYMBOLS: Mapping[str, str] = {
    "performance": "the fastest kind of CPU",
    "efficiency": "the CPUs of slower kinds",
    "one": "one CPU of the fastest kind",
}
# From the safest to the least safe; `isolation_rank` is the place in it.
GRADES: tuple[Security, ...] = ("none", "weakens", "dangerous")
Needs = Mapping[str, tuple[str, ...]]
ActsUnder = Literal["offline", "serve"]
ActsOn = Literal["any", "gpu"]


@dataclass(frozen=True)
class HostFacts:
    """What is known of a machine and of its Docker engine. None is unknown, and nothing is excluded for it.

    Attributes:
        cpus: Every CPU, as a list (`0-19`).
        performance_cpus: Those of the fastest kind.
        has_gpu: Whether there is an NVIDIA GPU.
        memory_gib: MemTotal.
        runtimes: Names of the OCI runtimes that the engine knows.
        security: The engine's security options (`seccomp`, `apparmor`, `rootless`, ...).
        devices: Device files that exist, of those that the space names.
        log_driver: The engine's own log driver, which a container gets by default.
        runtime: Likewise its OCI runtime.
        lacks: Capabilities that the engine itself lacks, so that it can give them to nobody (`SYS_RESOURCE`).
    """

    __pydantic_config__ = STRICT

    cpus: str | None = None
    performance_cpus: str | None = None
    has_gpu: bool | None = None
    memory_gib: float | None = None
    runtimes: tuple[str, ...] | None = None
    security: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    log_driver: str | None = None
    runtime: str | None = None
    lacks: tuple[str, ...] = ()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What this engine does without an option, for `config.equivalence.signature`."""
        own = {"log_driver": self.log_driver, "runtime": self.runtime}
        return {name: value for name, value in own.items() if value is not None}


@dataclass(frozen=True)
class Factor:
    """One thing that is varied.

    Attributes:
        name: Its name in trials, figures and treatments.
        levels: Label to what the level changes: options by name (null takes one away), or a key of `OUTSIDE`.
        why: Why it might matter.
        needs: Options that must have one of these values for the factor to act, whatever sets them.
        acts_under: The only kind of workload under which it can act; None is any.
        acts_on: `gpu` if it can act only where there is one.
        security: Grade of every level, where it is not that of its options.

    Raises:
        ValueError: A level that changes nothing, an unknown key, or a value that its option refuses.
    """

    __pydantic_config__ = STRICT

    name: str
    levels: Mapping[str, Mapping[str, Any]]
    why: str
    needs: Needs = field(default_factory=dict)
    acts_under: ActsUnder | None = None
    acts_on: ActsOn = "any"
    security: Security | None = None

    def __post_init__(self) -> None:
        if not self.levels or BASELINE in self.levels:
            raise ValueError(f"factor {self.name}: at least one level, and none is called {BASELINE!r}")
        for label, changes in self.levels.items():
            where = f"factor {self.name}, level {label}"
            if not changes:
                raise ValueError(f"{where}: it changes nothing")
            _check_names(where, changes, (*option_names(), *OUTSIDE))
            _check_values(where, changes)
        _check_names(f"factor {self.name}, needs", self.needs, option_names())

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the Docker options that its levels change, in the order of declaration."""
        named = {name for changes in self.levels.values() for name in changes}
        return tuple(name for name in option_names() if name in named)

    def security_of(self, level: str) -> Security:
        """The grade of a level: as stated, else that of the options it gives."""
        if self.security is not None:
            return self.security
        return grade(_options_of(self.levels[level]))


@dataclass(frozen=True)
class Space:
    """The factors of a site's search, in order: a factor may need what an earlier one sets.

    `assumed` are the facts of the machine that the space is made for, taken where a plan is shown on another one.

    Raises:
        ValueError: Two factors of one name, or two that change one option.
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    factors: tuple[Factor, ...]
    assumed: HostFacts = HostFacts()

    def __post_init__(self) -> None:
        names = [factor.name for factor in self.factors]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"factor {doubled[0]} stands twice")
        owners: dict[str, str] = {}
        for factor in self.factors:
            for option in factor.options:
                if option in owners and option != "security_opt":
                    raise ValueError(f"factors {owners[option]} and {factor.name} both change {option}")
                owners[option] = factor.name

    def factor(self, name: str) -> Factor:
        """A factor by its name.

        Raises:
            KeyError: There is none.
        """
        return {factor.name: factor for factor in self.factors}[name]


def apply_level(options: DockerOptions, changes: Mapping[str, Any]) -> DockerOptions:
    """The options with those of one level in place; `security_opt` adds to what is there, None takes an option away.

    Raises:
        ValueError: A value that its option refuses, as a symbol that was not resolved is.
    """
    values = {name: value for name, _, value in given(options)}
    for name, value in changes.items():
        if name in OUTSIDE:
            continue
        if name == "security_opt" and value is not None:
            values[name] = _joined(values.get(name, ()), value)
        else:
            values[name] = _settled(value)
    return DockerOptions(**{name: value for name, value in values.items() if value is not None})


def unmet(needs: Needs, options: DockerOptions) -> str | None:
    """Which need the options do not meet, in words; None when all are met. Docker's own default IPC mode is private."""
    for name, wanted in needs.items():
        value = getattr(options, name)
        has = "private" if name == "ipc" and value is None else value
        if has is None or str(has) not in wanted:
            flag = flag_of(name).text
            return (
                f"it needs {flag}={' or '.join(wanted)}, and {f'{flag}={has}' if has is not None else 'there is none'}"
            )
    return None


def grade(options: DockerOptions) -> Security:
    """How much isolation these options trade away: the worst grade of any of them by its value."""
    return max((grade_of(name, options) for name, _, _ in given(options)), key=GRADES.index, default="none")


def weakenings(options: DockerOptions) -> int:
    """How many of these options trade isolation away, for a choice between sets of one grade: fewer are safer."""
    return sum(grade_of(name, options) != "none" for name, _, _ in given(options))


def isolation_rank(grade_: Security) -> int:
    """0 for `none`, 1 for `weakens`, 2 for `dangerous`: lower is safer."""
    return GRADES.index(grade_)


def _joined(there: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Security options by what they speak of, the later in the earlier's place."""
    by_name = {text.replace(":", "=", 1).partition("=")[0]: text for text in (*there, *more)}
    return tuple(by_name.values())


def _settled(value: Any) -> Any:  # noqa: ANN401 - what YAML reads
    return tuple(value) if isinstance(value, list) else value


def _options_of(changes: Mapping[str, Any]) -> DockerOptions:
    """The options of one level alone; a symbol stands for some CPU."""
    values = {name: "0" if name == "cpuset_cpus" and value in SYMBOLS else value for name, value in changes.items()}
    return apply_level(DockerOptions(), values)


def _check_names(where: str, names: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {name!r}, {hint}")


def _check_values(where: str, changes: Mapping[str, Any]) -> None:
    try:
        _options_of(changes)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None
