"""The optimised environment as a file: the flags, and beside them the evidence that they are for. `validate` takes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click
import yaml

from sparkray.config.boundary import parse, read_yaml
from sparkray.config.docker import given
from sparkray.config.site import Environment, Site
from sparkray.errors import ConfigError, InputError
from sparkray.store.writing import storage_errors, write_atomically

NAME = "container_optimized.yaml"
FORMAT = "sparkray-environment/1"
_HEAD = """\
# The optimised container environment, as `optimize` confirmed it on fresh runs.
# Use it: python -m sparkray.sweep validate --optimized {name}
"""


def write_environment(path: Path, environment: Environment, evidence: Mapping[str, Any]) -> None:
    """The file, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    options = {
        name: list(value) if isinstance(value, tuple) else value for name, _, value in given(environment.options)
    }
    document = {
        "format": FORMAT,
        "options": options,
        "adapt": list(environment.adapt),
        "evidence": dict(evidence),
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (_HEAD.format(name=path.name) + text).encode())


def read_environment(path: Path) -> tuple[Environment, Mapping[str, Any]]:
    """The environment of a file, and its evidence.

    Raises:
        ConfigError: It cannot be read, or is no such file.
    """
    document = read_yaml(path)
    if document.get("format") != FORMAT:
        raise ConfigError(f"{path} is not of the format {FORMAT!r}", "Make it with: optimize --output FILE")
    fields = {key: document[key] for key in ("options", "adapt") if key in document}
    evidence = document.get("evidence")
    return parse(Environment, fields, str(path)), cast(
        "Mapping[str, Any]", evidence if isinstance(evidence, dict) else {}
    )


def with_environment(site: Site, path: Path, *, host: str | None = None) -> Environment:
    """The environment of a file, for a site; reasons against using it here go to stderr.

    Args:
        site: Where it is to be measured.
        path: The file.
        host: This machine's name; None does not compare it.

    Raises:
        ConfigError: See `read_environment`.
        InputError: It was found on another site, whose flags say nothing of this one.
    """
    environment, evidence = read_environment(path)
    found_on = evidence.get("site")
    if found_on is not None and found_on != site.name:
        raise InputError(
            f"{path} was found on site {found_on}, and this is {site.name}",
            f"Optimise here, or name the site: --site {found_on}",
        )
    for doubt in doubts(evidence, site, host):
        click.echo(f"sparkray: {path}: {doubt}", err=True)
    return environment


def doubts(evidence: Mapping[str, Any], site: Site, host: str | None) -> list[str]:
    """Reasons against flags that were found elsewhere or with a simulated engine."""
    found = []
    if evidence.get("simulated") and not site.simulated:
        found.append("its flags were found with a simulated engine: they may not help a real one")
    elsewhere = evidence.get("host")
    if host is not None and elsewhere is not None and elsewhere != host:
        found.append(f"its flags were found on {elsewhere}, and this is {host}: what helps there may not help here")
    return found
