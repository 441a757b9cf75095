"""The file boundary: mappings from YAML or options in, frozen dataclasses out. The one place where pydantic stands.

Unknown keys are refused with the nearest known one; every message names the source, the key and the value. pydantic takes
0.3 s to import, and is imported by the first use: many commands read no file of the user's.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import yaml

from sparkray.errors import ConfigError
from sparkray.units import did_you_mean

if TYPE_CHECKING:
    from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

T = TypeVar("T")
# YAML reads `shm_size: 67108864` and `cpuset_cpus: 0` as numbers: where text is meant, they are taken as text.
STRICT: "ConfigDict" = {"extra": "forbid", "coerce_numbers_to_str": True}


class YamlWord:
    """Annotation of a word: YAML reads a bare `off` as false, which is taken as the word."""

    def __get_pydantic_core_schema__(self, source: object, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Maps booleans to words before the value is validated."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see the module

        def word(value: object) -> object:
            return {False: "off", True: "on"}[value] if isinstance(value, bool) else value

        return core_schema.no_info_before_validator_function(word, handler(source))


def parse(kind: type[T], mapping: object, source: str) -> T:
    """A frozen dataclass from what a file or a user wrote.

    Args:
        kind: The dataclass; it carries `__pydantic_config__ = STRICT`.
        mapping: What was read.
        source: Where from, for the message.

    Raises:
        ConfigError: An unknown key, a missing key, a value of another type or out of bounds.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - see the module

    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{source}: expected keys and values, got {type(mapping).__name__}")
    try:
        validated: T = _adapter(kind).validate_python(dict(mapping))
    except ValidationError as error:
        details = error.errors()
        raise ConfigError("; ".join(_tell(kind, detail, source) for detail in details)) from None
    return validated


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml: ten times as fast
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Raises yaml.YAMLError for a key that stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path) -> Mapping[str, Any]:
    """One YAML file as a mapping.

    Raises:
        ConfigError: It cannot be read, is not valid YAML, or holds no mapping.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506 - a SafeLoader, stricter
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(loaded).__name__}")
    return cast("Mapping[str, Any]", loaded)


# Kept, since building one takes longer than reading and validating a model card with it.
_ADAPTERS: "dict[type[Any], TypeAdapter[Any]]" = {}


def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter  # noqa: PLC0415 - see the module

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
