"""The file boundary: mappings from YAML or options in, frozen dataclasses out. The one place where pydantic stands.

Unknown keys are refused with the nearest known one; every message names the source, the key and the value.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from sparkray.errors import ConfigError
from sparkray.units import did_you_mean

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
"""YAML reads `shm_size: 67108864` and `cpuset_cpus: 0` as numbers: where text is meant, they are taken as text."""

YAML_WORD = BeforeValidator(lambda value: {False: "off", True: "on"}[value] if isinstance(value, bool) else value)
"""YAML reads a bare `off` as false: where a word is meant, it is taken as the word."""


def parse(kind: type[T], mapping: object, source: str) -> T:
    """A frozen dataclass from what a file or a user wrote.

    Args:
        kind: The dataclass; it carries `__pydantic_config__ = STRICT`.
        mapping: What was read.
        source: Where from, for the message.

    Raises:
        ConfigError: An unknown key, a missing key, a value of another type or out of bounds.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{source}: expected a mapping of keys to values, found {type(mapping).__name__}")
    try:
        validated: T = _adapter(kind).validate_python(dict(mapping))
    except ValidationError as error:
        details = error.errors()
        raise ConfigError("; ".join(_tell(kind, detail, source) for detail in details)) from None
    return validated


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""Kept, since building one takes longer than reading and validating a model card with it."""


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _tell(kind: type[Any], detail: Any, source: str) -> str:  # noqa: ANN401 - pydantic's own TypedDict
    path = [str(part) for part in detail["loc"]]
    where = ".".join(path)
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_keys(kind, path[:-1])
        near = did_you_mean(path[-1], known)
        hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"{source}: unknown key {where!r}, {hint}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"{source}: key {where!r} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{source}: {where + ': ' if where else ''}{message}"  # it names the value among them itself
    return f"{source}: {where or 'value'} = {detail['input']!r}: {message}"


def _known_keys(kind: type[Any], path: list[str]) -> list[str]:
    """The keys of the dataclass at the end of a path, through mappings, sequences and optional values."""
    inner: Any = kind
    for part in path:
        if is_dataclass(inner):
            inner = next((f.type for f in fields(inner) if f.name == part), None)
        elif get_origin(inner) is Mapping:
            inner = get_args(inner)[1]
        elif get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        if isinstance(inner, UnionType):
            inner = next((choice for choice in get_args(inner) if is_dataclass(choice)), None)
    return [f.name for f in fields(inner)] if is_dataclass(inner) else []
