"""Columns as data: type, unit, label, number format and meaning of each column of every table. Pure.

`records` and `metrics` declare the columns of a dataset, `analysis.schema` those of an analysis. Documentation, headings of
pages and of LaTeX tables, and the way a number is printed come from these rows, so each is written once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

Kind = Literal["string", "int", "float", "bool", "timestamp", "int_list", "string_list"]
Format = Literal[
    "words",
    "count",
    "plain",
    "size",
    "significant",
    "ratio",
    "share",
    "per_cent",
    "fine_per_cent",
    "effect",
    "slope",
    "p",
]
"""How a value is printed, as a code: `analysis.number_formats` has a function for each, `analysis.latex` the decimals."""

OF_METRIC = "metric"
"""The unit of a column whose values are in the unit of the row's metric."""
UNITS: Mapping[str, str] = {
    "_tok_s": "tok/s",
    "_req_s": "req/s",
    "_gb_s": "GB/s",
    "_gib": "GiB",
    "_mhz": "MHz",
    "_pct": "%",
    "_ratio": "1",
    "_ms": "ms",
    "_ns": "ns",
    "_c": "°C",
    "_j": "J",
    "_s": "s",
    "_w": "W",
}
"""Units by the ending of a column's name, longest ending first."""
_WORDS: Mapping[str, str] = {
    "bh": "Benjamini-Hochberg",
    "cpu": "CPU",
    "gpu": "GPU",
    "holm": "Holm",
    "itl": "time between tokens",
    "pss": "PSS",
    "rss": "RSS",
    "sm": "SM",
    "temp": "temperature",
    "ttft": "time to first token",
    "util": "utilisation",
}
_FORMATS: Mapping[Kind, Format] = {"int": "count", "float": "significant"}
_NUMBERS = ("int", "float", "int_list")
_ENDS = ("low", "high")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name; the unit stands at the end, where it has one.
        kind: Type of its values. `timestamp` is UTC with microseconds, `int_list` and `string_list` are lists.
        what: Meaning, as the documentation says it.
        label: Heading in words, without the unit; made from the name where none is given.
        format: Code of the number format; by type where none is given.
        unit: Unit; that of the name's ending where none is given, `OF_METRIC` for the unit of the row's metric.
        head: Short heading in LaTeX, for narrow tables; the label where none is given.
    """

    name: str
    kind: Kind
    what: str
    label: str = ""
    format: Format | None = None
    unit: str | None = None
    head: str = ""

    def __post_init__(self) -> None:
        """Fill in what was not given."""
        label = self.label or label_of(self.name)
        unit = self.unit if self.unit is not None else unit_of(self.name) if self.kind in _NUMBERS else ""
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "format", self.format or _FORMATS.get(self.kind, "words"))
        object.__setattr__(self, "head", self.head or _head(self.name, self.format, label))

    @property
    def axis(self) -> str:
        """Label and unit: `Mean latency (ms)`."""
        shown = self.unit if self.unit not in ("", "1", OF_METRIC) else ""
        return f"{capital(self.label)}{f' ({shown})' if shown else ''}"


class Shown(TypedDict, total=False):
    """How a column is shown: the arguments of `Column` that have defaults."""

    label: str
    format: Format
    unit: str
    head: str


def text(name: str, what: str, **shown: Unpack[Shown]) -> Column:
    """A column of words or codes."""
    return Column(name, "string", what, **shown)


def number(name: str, what: str, **shown: Unpack[Shown]) -> Column:
    """A column of measures or estimates."""
    return Column(name, "float", what, **shown)


def count(name: str, what: str, **shown: Unpack[Shown]) -> Column:
    """A column of whole numbers."""
    return Column(name, "int", what, **shown)


def flag(name: str, what: str, **shown: Unpack[Shown]) -> Column:
    """A column of yes and no."""
    return Column(name, "bool", what, **shown)


@dataclass(frozen=True)
class Table:
    """One table: what a row is, and its columns in order."""

    name: str
    what: str
    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        """The columns."""
        return iter(self.columns)

    def column(self, name: str) -> Column:
        """A column by its name. Raises KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name}.{name}")


def unit_of(name: str) -> str:
    """The unit that a column's name ends in, as it is printed; empty for a ratio, a count, words."""
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def label_of(name: str) -> str:
    """A column's name in words, without its unit; the end of an interval as one."""
    words = _words(name)
    if words[-1] not in _ENDS:
        return " ".join(_WORDS.get(word, word) for word in words)
    of = " ".join(_WORDS.get(word, word) for word in words[:-1])
    return f"{of}{', ' if of else ''}95 % CI, {words[-1]}"


def _words(name: str) -> list[str]:
    ending = next((ending for ending in UNITS if name.endswith(ending)), "")
    return name.removesuffix(ending).split("_")


def _head(name: str, code: Format | None, label: str) -> str:
    """`Low` or `High` for the end of an interval, `$p$` for a p-value; else the label."""
    last = _words(name)[-1]
    return capital(last) if last in _ENDS else "$p$" if code == "p" else capital(label)


def capital(text: str) -> str:
    """With a capital letter in front; the rest as it is."""
    return text[:1].upper() + text[1:]
