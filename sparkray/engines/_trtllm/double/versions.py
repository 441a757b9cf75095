"""What differs between versions: options, behaviour (`versions.json`), wording (`console.txt`). Read on first use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["text", "int", "float", "choice", "path", "file", "flag", "positive"]
Minor = tuple[int, int]
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Option:
    """One option. `names` as typed, `off` the names that switch a flag off; `path` must exist, `file` is written."""

    names: tuple[str, ...]
    kind: Kind
    default: object = None
    choices: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    required: bool = False
    many: bool = False
    alone: bool = False

    @property
    def dest(self) -> str:
        """The name of its value: that of the last long name."""
        return [name for name in self.names if name.startswith("--")][-1].lstrip("-").replace("-", "_")


@cache
def table() -> Mapping[str, Any]:
    """The content of `versions.json`."""
    content: Mapping[str, Any] = json.loads((_HERE / "versions.json").read_text())
    return content


def number(version: str) -> Minor:
    """For comparisons: (1, 2) of `1.2`."""
    major, minor = version.split(".")
    return int(major), int(minor)


@cache
def options(command: str, version: Minor) -> tuple[Option, ...]:
    """The options of the group (`group`) or of a subcommand in one version, in the order of the help page."""
    return tuple(_option(row) for row in table()["options"] if command in row["of"].split() and _has(row, version))


@cache
def option_names(command: str, version: Minor) -> frozenset[str]:
    """The names of those options, with the names that switch flags off."""
    return frozenset(name for option in options(command, version) for name in (*option.names, *option.off))


def subcommands(version: Minor) -> tuple[str, ...]:
    """The subcommands of one version."""
    return tuple(row["name"] for row in table()["subcommands"] if _has(row, version))


def text(key: str, version: Minor = (99, 0), /, **values: object) -> str:
    """A text of `console.txt` as this version words it, filled in; empty where the version has none."""
    wordings = [words for known, since, words in _texts() if known == key and since <= version]
    return wordings[-1].format(end="", **values) if wordings else ""


@cache
def _texts() -> list[tuple[str, Minor, str]]:
    """Name, first version and words of each text."""
    texts = []
    for block in (_HERE / "console.txt").read_text().split("\n@@ ")[1:]:
        title, _, words = block.partition("\n")
        name, _, since = title.partition(" ")
        texts.append((name, number(since or "0.0"), words.rstrip("\n")))
    return texts


def _has(row: Mapping[str, Any], version: Minor) -> bool:
    return number(row.get("since", "0.0")) <= version < number(row.get("until", "99.0"))


def _option(row: Mapping[str, Any]) -> Option:
    values = {key: value for key, value in row.items() if key not in ("of", "since", "until")}
    for key in values.keys() & {"names", "choices", "off"}:
        values[key] = tuple(values[key].split())
    return Option(**values)
