"""Docker options as typed fields, one for each entry of `flags.yaml`.

From an entry come validation, the SDK call, the printed `docker run` line, the column `docker_<name>` of `runs`, equivalent
treatments, and the contract tests, which create the container both ways, compare `docker inspect`, start it and read its
state.

`--rm` is not an option: it is emulated (create, start, read back, wait, collect, remove), because automatic removal races
with the exit status. The printed line has it, so that a pasted line leaves nothing behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkray.config.boundary import read_yaml
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.flag import Flag, Security, declared
from sparkray.units import GIB, parse_size

FLAGS_FILE = Path(__file__).with_name("flags.yaml")
_DEVICE_REQUESTS = "device_requests"
# Read at import, since the fields of a class are made of it.
_FLAGS: Mapping[str, Flag] = {name: declared(name, entry) for name, entry in read_yaml(FLAGS_FILE).items()}


def _check(options: "DockerOptions") -> None:
    for name, flag, value in given(options):
        wrong = flag.kind.check(value)
        if wrong is not None:
            raise ValueError(f"{name}: {wrong}")


if TYPE_CHECKING:

    @dataclass(frozen=True, init=False)
    class DockerOptions:
        """The flags of one container environment. None means: not given, Docker's own default."""

        def __init__(self, **values: Any) -> None: ...  # noqa: ANN401 - the type is the entry's

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401 - likewise

else:
    DockerOptions = make_dataclass(
        "DockerOptions",
        [(name, flag.kind.python | None, field(default=None)) for name, flag in _FLAGS.items()],
        namespace={
            "__doc__": "The flags of one container environment.",
            "__module__": __name__,
            "__post_init__": _check,
        },
        frozen=True,
    )


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
        requests = flag.kind.requests(value)
        for argument, converted in ((flag.argument, flag.kind.convert(value)), (_DEVICE_REQUESTS, requests)):
            if isinstance(converted, list) and argument in arguments:
                arguments[argument] = [*arguments[argument], *converted]
            elif argument == flag.argument or converted:
                arguments[argument] = converted
    return arguments


def flag_words(options: DockerOptions) -> list[str]:
    """The words of `docker run` for these options (`--ipc=host`, `--privileged`)."""
    return [word for _, flag, value in given(options) for word in flag.words(value)]


def words_of(name: str, options: DockerOptions) -> str:
    """One option as `docker run` has it; a switch that is off (`init`: false) has no flag, and goes by its name."""
    value = getattr(options, name)
    return " ".join(flag_of(name).words(value)) or f"{name}={value}"


def cannot_act(options: DockerOptions) -> dict[str, str]:
    """Options that cannot act beside the others: name to reason."""
    reasons = ((name, flag, flag.hindrance(options)) for name, flag, _ in given(options))
    return {name: f"{flag.text} cannot act {reason}" for name, flag, reason in reasons if reason is not None}


def grade_of(name: str, options: DockerOptions) -> Security:
    """How much isolation one option trades away by its value."""
    return flag_of(name).grade(getattr(options, name), options)


def kernel_reads() -> tuple[str, ...]:
    """Addresses of the kernel's values that the declarations need beyond the fields of a state."""
    return tuple(dict.fromkeys(address for flag in _FLAGS.values() if flag.trace for address in flag.trace.reads))


def unreachable_limits(values: Mapping[str, Any], *, cpus: str | None, memory_gib: float | None) -> dict[str, str]:
    """Limits that a machine cannot reach: option to reason. Nothing where the machine is unknown.

    Args:
        values: Values of options by name; those of a `DockerOptions` are `vars(options)`.
        cpus: The machine's CPUs, as a list (`0-19`).
        memory_gib: Its memory.
    """
    memory, cpuset, quota = (values.get(name) for name in ("memory", "cpuset_cpus", "cpus"))
    every = cpu_numbers(cpus or "")
    reasons = {}
    if memory is not None and memory_gib is not None and parse_size(memory) >= memory_gib * GIB:
        reasons["memory"] = f"--memory={memory} cannot act: this machine has {memory_gib:.1f} GiB"
    if every and cpuset and cpu_numbers(cpuset) >= every:
        reasons["cpuset_cpus"] = f"--cpuset-cpus={cpuset} cannot act: it is every CPU of this machine"
    if every and quota is not None and quota >= len(every):
        reasons["cpus"] = f"--cpus={quota:g} cannot act: this machine has {len(every)}"
    return reasons
