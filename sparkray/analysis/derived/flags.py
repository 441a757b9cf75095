"""The Docker flags that the containers really had, read from the printed lines, each with its security price."""

import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.config.docker import DockerOptions, flag_of, given, option_names
from sparkray.config.effect import cannot_act

_SCHEMA = {name: pl.String() for name in ("trace", "environment", "option", "flag", "security", "cannot_act")}
_ULIMIT = "--ulimit"
_NUMBERS = {"cpus": float, "cpu_shares": int, "oom_score_adj": int}
_SWITCHES = ("privileged", "init", "read_only")
_LISTS = ("cap_add", "cap_drop", "security_opt", "device", "env")


def flags(analysis: Analysis) -> pl.DataFrame:
    """One row a flag of a container environment."""
    rows = [
        row
        for environment, line in sorted((analysis.context.get("docker_commands") or {}).items())
        for row in _rows(environment, options_of_line(line))
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _rows(environment: str, options: DockerOptions) -> Iterator[dict[str, Any]]:
    idle = cannot_act(options)
    for name, flag, value in given(options):
        yield {
            "trace": f"flags/{environment}/{name}",
            "environment": environment,
            "option": name,
            "flag": " ".join(f"{flag.text}={word}" if word else flag.text for word in flag.words(value)),
            "security": flag.security,
            "cannot_act": idle.get(name),
        }


def options_of_line(line: str) -> DockerOptions:
    """The known options of a printed `docker run` line; what is not known (volumes, variables) is left out."""
    values: dict[str, Any] = {}
    for word in shlex.split(line):
        flag, _, value = word.partition("=")
        for name in option_names():
            if flag_of(name).text == flag and (flag != _ULIMIT or value.startswith(name.removeprefix("ulimit_") + "=")):
                _take(values, name, value.partition("=")[2] if flag == _ULIMIT else value)
    return DockerOptions(**values)


def _take(values: dict[str, Any], name: str, value: str) -> None:
    if name in _SWITCHES:
        values[name] = True
    elif name in _LISTS:
        values[name] = (*values.get(name, ()), value)
    elif name.startswith("ulimit_"):
        with suppress(ValueError):
            values[name] = int(value)
    else:
        values[name] = _NUMBERS.get(name, str)(value.strip('"'))
