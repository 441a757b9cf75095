"""The options of `docker run`, from `docker_run.yaml`, and the values of those that have a type. Pure but for that file."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sparkray.config.boundary import read_yaml
from sparkray.config.docker import DockerOptions, flag_of, option_names
from sparkray.errors import InputError

TABLE = Path(__file__).with_suffix(".yaml")
_ULIMIT = "--ulimit"


@dataclass(frozen=True)
class Option:
    """One option of `docker run`.

    Attributes:
        name: Its long spelling.
        treatment: What becomes of it; `typed` where `DockerOptions` declares its flag.
        switch: Whether it takes no value of its own.
        why: Why it is dropped or refused.
        otherwise: What becomes of a value that the type refuses; an error where nothing stands here.
    """

    name: str
    treatment: Literal["typed", "line", "passed", "dropped", "refused"]
    switch: bool = False
    why: str = ""
    otherwise: Literal["", "passed"] = ""


@cache
def known_options() -> Mapping[str, Option]:
    """Every option by each of its spellings."""
    declared = {flag_of(name).text for name in option_names()}
    options: dict[str, Option] = {}
    for name, row in read_yaml(TABLE).items():
        treatment: Any = "typed" if name in declared else row.get("as", "typed")
        option = Option(name, treatment, row.get("switch", False), row.get("why", ""), row.get("otherwise", ""))
        short = [f"-{row['short']}"] if "short" in row else []
        options |= dict.fromkeys((name, *row.get("also", ()), *short), option)
    return options


def typed_value(option: Option, text: str) -> tuple[str, Any] | None:
    """Field of `DockerOptions` and its value; None where the value has no type and is passed through as text.

    Raises:
        InputError: The option refuses the value.
    """
    name = _field(option, text)
    try:
        value = _read(name, text) if name else None
        if name and value is not None:
            DockerOptions(**{name: value})
    except ValueError as error:
        if option.otherwise != "passed":
            raise InputError(f"{option.name}={text}: {str(error).removeprefix(f'{name}: ')}") from None
        value = None
    return None if name is None or value is None else (name, value)


def _field(option: Option, text: str) -> str | None:
    """The field of an option; of `--ulimit`, which has several, the one that the value names."""
    names = [name for name in option_names() if flag_of(name).text == option.name]
    if option.name != _ULIMIT:
        return names[0]
    return next((name for name in names if name == f"ulimit_{text.partition('=')[0]}"), None)


def _read(name: str, text: str) -> Any:  # noqa: ANN401 - an option's value
    """The value of a field from the word that follows its flag.

    Raises:
        ValueError: It is not of the field's type.
    """
    flag = flag_of(name)
    if flag.kind.python is bool:
        return text == "true"
    if flag.kind.python is int:
        return _whole(text.partition("=")[2] if flag.type == "rlimit" else text)
    if flag.kind.python is float:
        return float(text)
    if flag.kind.python is str:
        return _gpus(text) if flag.type == "gpus" else text
    return (_device(text) if flag.type == "devices" else text,)


def _whole(text: str) -> int:
    """A number; of a soft and a hard limit that are equal, that one."""
    soft, _, hard = text.partition(":")
    if hard and hard != soft:
        raise ValueError(f"{text!r} has a hard limit that is not the soft one")
    return int(soft)


def _device(text: str) -> str:
    """A device that has its own path inside and all permissions, by its path alone."""
    source, _, rest = text.partition(":")
    return source if rest in ("", source, "rwm", f"{source}:rwm") else text


def _gpus(text: str) -> str:
    """`all`, a number, or `device=...`: what the CSV of a GPU request holds when it names devices alone."""
    parts = dict(part.partition("=")[::2] for part in next(csv.reader([text]), []))
    if len(parts) == 1:
        key, value = next(iter(parts.items()))
        if key == "count":
            return value
        if key == "device":
            return f"device={value}"
        if key == "all" or key.isdigit():
            return key
    raise ValueError(f"{text!r} asks for more than devices")
