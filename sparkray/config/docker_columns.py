"""Docker options as columns of `runs`: `docker_<option>` for each, generated from `DockerOptions`. Pure."""

from collections.abc import Mapping
from typing import Any

from sparkray.config.docker import DockerOptions, flag_of, given, option_names
from sparkray.config.secrets import masked
from sparkray.schema import Column, Kind

PREFIX = "docker_"
_KINDS: Mapping[object, Kind] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    tuple[str, ...]: "string_list",
}


def _column(name: str) -> Column:
    flag = flag_of(name)
    meaning = f"`{flag.text}` as given: {flag.why}" if flag.text else flag.why
    return Column(PREFIX + name, _KINDS[flag.kind.python], meaning, unit=flag.unit)


DOCKER_COLUMNS = tuple(_column(name) for name in option_names())


def column_values(options: DockerOptions) -> dict[str, Any]:
    """The columns of a container that was made with these options, secrets hidden; those not given are left out."""
    return {PREFIX + name: masked(value) for name, _, value in given(options)}


def options_of_row(row: Mapping[str, Any]) -> DockerOptions:
    """The options that a row of `runs` has; none for a row of an older dataset, which has no such columns.

    Raises:
        ValueError: A value that its option refuses.
    """
    values: dict[str, Any] = {}
    for name in option_names():
        value = row.get(PREFIX + name)
        values[name] = tuple(value) if isinstance(value, list) else value
    return DockerOptions(**values)
