"""The command of `trtllm-serve` for one version, from its recipe (`conf/engines/trtllm-serve.yaml`).

sparkray has no serving workload yet and starts none of this: the recipe holds what is known of each version, and this
module renders and checks it, so that the workload finds both. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from sparkray.config.boundary import STRICT, parse
from sparkray.engines._trtllm.features import NEWEST, is_newer, minor_of
from sparkray.errors import ConfigError

PLACES = ("model", "host", "port", "options_file")


@dataclass(frozen=True)
class Endpoint:
    """An address with measurements. `needs` are keys of the options file; reading one that `drains` empties it."""

    __pydantic_config__ = STRICT

    needs: tuple[str, ...]
    drains: bool
    kind: Literal["json", "prometheus"]


@dataclass(frozen=True)
class Readiness:
    """When the server is ready: `path` answers a status of `ready`. `loading` means that it is not yet."""

    __pydantic_config__ = STRICT

    path: str
    ready: tuple[int, ...]
    loading: tuple[int | Literal["refused"], ...]
    log: tuple[str, ...]
    not_for_probing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """What one minor version has beyond the others. `metrics` are endpoints that came with it."""

    __pydantic_config__ = STRICT

    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    options_file: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What is known of a server, by version. `ring` is the key that bounds how many requests its metrics keep."""

    __pydantic_config__ = STRICT

    name: str
    runs_yet: bool
    command: tuple[str, ...]
    options: tuple[str, ...]
    versions: Mapping[str, Version]
    options_file: Mapping[str, Any]
    ring: str
    readiness: Readiness
    metrics: Mapping[str, Endpoint]


@dataclass(frozen=True)
class Serving:
    """What is served: `requests` is how many the metrics must keep, with those of probes; `host` is where it listens."""

    __pydantic_config__ = STRICT

    model: str
    options_file: str
    requests: Annotated[int, Gt(0)]
    host: str = "127.0.0.1"
    port: Annotated[int, Ge(1)] = 8000
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ServeCommand:
    """A server's command, environment, options file and the endpoints that this version has with it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    options_file: bytes
    metrics: tuple[str, ...]


def read_recipe(mapping: Mapping[str, Any], source: str) -> Recipe:
    """A recipe from its file.

    Raises:
        ConfigError: It is not well-formed, names a place or endpoint that there is none of, or sets a key twice.
    """
    recipe = parse(Recipe, mapping, source)
    for version, own in recipe.versions.items():
        if unknown := sorted(set(own.metrics) - set(recipe.metrics)):
            raise ConfigError(f"{source}: versions.{version}.metrics names {unknown[0]}, which metrics lacks")
        if twice := sorted(set(own.options_file) & set(recipe.options_file)):
            raise ConfigError(f"{source}: versions.{version}.options_file sets {twice[0]}, which options_file sets too")
    for word in (*recipe.command, *recipe.options):
        if word.startswith("{") and word.strip("{}") not in PLACES:
            raise ConfigError(f"{source}: {word} is no place to fill in", f"Places: {', '.join(PLACES)}")
    return recipe


def render(recipe: Recipe, version: str, serving: Serving) -> ServeCommand:
    """The command for a version; for a newer one than the recipe has, that of its newest.

    Raises:
        ConfigError: The recipe has nothing for the version, or a key would be set both on the command line and in the file.
    """
    own = _version(recipe, version)
    content = {**recipe.options_file, **own.options_file, recipe.ring: serving.requests}
    words = [*recipe.command, *recipe.options, *own.options]
    flags = {word.removeprefix("--") for word in words if word.startswith("--")}
    if twice := sorted(set(serving.extra) & (flags | set(content))):
        raise ConfigError(
            f"{twice[0]} is set by the recipe of {recipe.name}", "Change it there: two places differ in which wins"
        )
    content.update(serving.extra)
    filled = {name: str(getattr(serving, name)) for name in PLACES}
    argv = tuple(filled[word.strip("{}")] if word.startswith("{") else word for word in words)
    late = {path for each in recipe.versions.values() for path in each.metrics}
    kept = tuple(
        path
        for path, endpoint in recipe.metrics.items()
        if (path not in late or path in own.metrics) and set(endpoint.needs) <= set(content)
    )
    return ServeCommand(argv, own.environment, json.dumps(content, indent=1).encode() + b"\n", kept)


def _version(recipe: Recipe, version: str) -> Version:
    known = minor_of(version)
    if known is not None and known not in recipe.versions and is_newer(version):
        known = NEWEST
    if known is None or known not in recipe.versions:
        raise ConfigError(
            f"the recipe of {recipe.name} has nothing for version {version!r}", f"It knows {', '.join(recipe.versions)}"
        )
    return recipe.versions[known]
