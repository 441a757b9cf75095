"""Recipes of `sparkrun`, which launches servers on DGX Sparks, as recipes of sparkray. Pure."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from sparkray.errors import ConfigError

_USED = (
    "recipe_version",
    "name",
    "model",
    "container",
    "command",
    "defaults",
    "env",
    "metadata",
    "runtime",
    "min_nodes",
)
_OURS = {"model": "{model}", "host": "{host}", "port": "{port}"}
"""Places that sparkray fills in for each run, whatever the defaults say."""
_SHELL = re.compile(r"[|&;<>$`]")


def is_sparkrun(mapping: Mapping[str, Any]) -> bool:
    """Whether a file is one of sparkrun's: its `command` is text, and it names a container."""
    return "container" in mapping and isinstance(mapping.get("command", ""), str)


def from_sparkrun(mapping: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Keys of a recipe of sparkray's. Keys that sparkray has no use for stand in `unused`.

    Raises:
        ConfigError: No command or model, more nodes than one, or a place that no default fills.
    """
    for key in ("command", "model"):
        if not mapping.get(key):
            raise ConfigError(f"{source}: key {key!r} is missing", "sparkray starts the command that a recipe holds")
    if int(mapping.get("min_nodes") or 1) > 1:
        raise ConfigError(f"{source}: min_nodes {mapping['min_nodes']}: sparkray measures one machine")
    defaults = mapping.get("defaults") or {}
    served = str(defaults.get("served_model_name", mapping["model"]))
    places = {**{key: str(value) for key, value in defaults.items()}, **_OURS, "served_model_name": served}
    text = " ".join(str(mapping["command"]).replace("\\\n", " ").split())

    def value(match: re.Match[str]) -> str:
        if match[1] not in places:
            raise ConfigError(f"{source}: {match[0]} in command has no default", f"Add defaults.{match[1]}")
        return places[match[1]]

    filled = re.sub(r"\{(\w+)\}", value, text)
    metadata = mapping.get("metadata") or {}
    return {
        "name": str(mapping.get("name") or str(mapping["model"]).rpartition("/")[2]),
        "description": " ".join(str(metadata.get("description", "A recipe of sparkrun.")).split()),
        "source": f"sparkrun recipe {source}",
        "image": str(mapping["container"]),
        "command": ["sh", "-c", filled] if _SHELL.search(filled) else shlex.split(filled),
        "environment": {str(key): str(value) for key, value in (mapping.get("env") or {}).items()},
        "served_name": served if "{served_model_name}" in text or "--served-model-name" in text else "{model}",
        "unused": sorted(f"{key}" for key in mapping if key not in _USED)
        + sorted(f"defaults.{key}" for key in defaults if key not in _OURS and f"{{{key}}}" not in text),
    }
