"""Errors, warnings and notes of this engine, worded in `messages.yaml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sparkray.config.boundary import read_yaml


def message(key: str, /, **values: object) -> tuple[str, ...]:
    """The arguments of an error: its message and, where there is one, its remedy."""
    entry = _messages()[key]
    return tuple(part.format(**values) for part in ([entry] if isinstance(entry, str) else entry))


def note(key: str, /, **values: object) -> str:
    """The message alone."""
    return message(key, **values)[0]


@cache
def _messages() -> Mapping[str, Any]:
    return read_yaml(Path(__file__).with_name("messages.yaml"))
