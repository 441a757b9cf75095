"""The file boundary: mappings from YAML, JSON or options in, frozen dataclasses out. The one place where pydantic stands.

What comes in is bounded before work is done with it: size of the file, depth, aliases, numbers. Unknown keys are refused
with the nearest known one; every message names the source, the key and the value. pydantic takes 0.3 s to import, and is
imported by the first use: many commands read no file of the user's.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import yaml

from sparkray.errors import ConfigError
from sparkray.files import read_regular
from sparkray.units import MIB, did_you_mean, short, shorten, some

if TYPE_CHECKING:
    from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

T = TypeVar("T")
# YAML reads `shm_size: 67108864` and `cpuset_cpus: 0` as numbers: where text is meant, they are taken as text.
STRICT: "ConfigDict" = {"extra": "forbid", "coerce_numbers_to_str": True, "allow_inf_nan": False}
_LIMIT_BYTES, _LEAST_DEEP, _DEPTH, _NODES = 8 * MIB, 40, 100, 500_000
_MOST = 2**63 - 1  # what Arrow, Docker and the kernel take
_MOST_OF = {int: _MOST, float: sys.float_info.max}
_MOST_FAULTS = 20
_BLOCK_INDENT = re.compile(r"^[ \t?:-]*", re.MULTILINE)


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
        for where, number in _numbers(mapping):
            if type(number) is int and abs(number) > _MOST:
                raise ConfigError(f"{source}: {where} = {short(number)}: more than 64 bits hold")
        validated: T = _adapter(kind).validate_python(dict(mapping))
    except ValidationError as error:
        details = error.errors()
        texts = [_tell(kind, detail, source) for detail in details[:_MOST_FAULTS]]
        raise ConfigError(some(texts, separator="; ", total=len(details))) from None
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"{source}: a value is out of every bound: {error}") from None
    _refuse_switches(validated, mapping, source, "")
    return validated


def _numbers(value: object, where: str = "") -> Iterator[tuple[str, int | float]]:
    """The numbers among plain values, each with its keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, where)
    elif type(value) in _MOST_OF:
        yield where, cast("int | float", value)


def _refuse_switches(made: object, given: object, source: str, where: str) -> None:
    """Raises ConfigError where true or false was taken for a number, as Python would."""
    if isinstance(given, Mapping):
        for key, inner in given.items():
            of_key = made.get(key) if isinstance(made, Mapping) else getattr(made, str(key), None)
            _refuse_switches(of_key, inner, source, f"{where}.{key}" if where else str(key))
    elif isinstance(given, list | tuple) and isinstance(made, tuple) and len(made) == len(given):
        for number, (one, inner) in enumerate(zip(made, given, strict=True)):
            _refuse_switches(one, inner, source, f"{where}.{number}")
    elif isinstance(given, bool) and type(made) in (int, float):
        raise ConfigError(f"{source}: {where} = {given!r}: a number is needed")


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml: ten times as fast
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Raises yaml.YAMLError for a key that stands twice."""
        seen: set[Any] = set()
        for part, _ in node.value:
            if part.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(part, deep=True)
            try:
                twice = key in seen
            except TypeError:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {short(key)} is no plain value", part.start_mark
                ) from None
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {short(key)} stands twice", part.start_mark
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path) -> Mapping[str, Any]:
    """One YAML file as a mapping.

    Raises:
        ConfigError: It cannot be read, is not valid YAML, or holds no mapping.
    """
    try:
        text = read_regular(path, limit=_LIMIT_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        loaded = load_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {shorten(' '.join(str(error).split()))}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(loaded).__name__}")
    return cast("Mapping[str, Any]", loaded)


def load_yaml(text: str) -> Any:  # noqa: ANN401 - plain values of any shape
    """The plain values of a YAML text, within bounds.

    Raises:
        yaml.YAMLError: It is not valid YAML.
        ValueError: A value is none (`2026-13-45`, a number of 5,000 digits), or it is nested or repeated beyond bounds.
    """
    deep = text.count("[") + text.count("{") + max(map(len, _BLOCK_INDENT.findall(text)))
    if deep > _LEAST_DEEP or "*" in text:
        _check_shape(text)
    try:
        return yaml.load(text, Loader=_Strict)  # noqa: S506 - a SafeLoader, stricter
    except (RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None


def _check_shape(text: str) -> None:
    """Follow the text event by event, without recursion. Raises ValueError, yaml.YAMLError."""
    depth, sizes, open_ones, total = 0, dict[str, int](), list[tuple[str | None, int]](), 0
    for event in yaml.parse(text, Loader=_Strict):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor or "", _NODES)  # of one that is still open: it holds itself
        elif isinstance(event, yaml.CollectionStartEvent):
            depth, total = depth + 1, total + 1
            open_ones.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            depth -= 1
            if anchor:
                sizes[anchor] = total - before + 1
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if depth > _DEPTH:
            raise ValueError(f"it is nested more than {_DEPTH} deep")
        if total >= _NODES:
            raise ValueError(f"with its aliases it has more than {_NODES:,} values")


def read_json(path: Path, *, limit: int = 64 * MIB) -> Any:  # noqa: ANN401 - plain values of any shape
    """The plain values of a JSON file.

    Raises:
        ValueError: It is not valid JSON, is nested too deep, or holds NaN, infinity or a number that 64 bits do not hold.
        OSError: It cannot be read, is no regular file, or is larger than `limit` bytes.
    """
    try:
        read = json.loads(read_regular(path, limit=limit))
        for where, number in _numbers(read):
            if not abs(number) <= _MOST_OF[type(number)]:
                raise ValueError(f"{where or 'the whole'} = {short(number)}: no finite number of 64 bits")
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return read


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
        return f"{source}: unknown key {short(where)}, {hint}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"{source}: key {where!r} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{source}: {where + ': ' if where else ''}{message}"  # it names the value among them itself
    return f"{source}: {where or 'value'} = {short(detail['input'])}: {message}"


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
