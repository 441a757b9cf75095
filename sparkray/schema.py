"""Columns as data: type, unit, label, number format and meaning of each column of every table.

They are declared in `sparkray/columns/`, one CSV file per table and one row per column: `dataset/` for the tables that the
store writes, `analysis/` for those of an analysis, `derived/` for those that a report derives, `metrics.csv` for metrics.
Documentation, headings of pages and of LaTeX tables, and the way a number is printed come from these rows. A file is read
when its table is first asked for.

Fields of a row: `name`; `kind`, its type; `unit`, `label`, `format` and `head`, each empty where `Column` derives it;
`meaning`. A row that holds a name alone is that column of `shared.csv`. A row `<group>` stands for columns that are
generated: those of metrics and of Docker options.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sparkray.errors import ConfigError

Kind = Literal["string", "int", "float", "bool", "timestamp", "int_list", "string_list"]
# How a value is printed, as a code: `report.format` has a function for each, `analysis.latex` the decimals.
Format = Literal[
    "words",
    "count",
    "plain",
    "size",
    "significant",
    "ratio",
    "share",
    "power",
    "per_cent",
    "fine_per_cent",
    "effect",
    "slope",
    "p",
]

# Where the columns are declared.
FOLDER = Path(__file__).parent / "columns"
# The unit of a column whose values are in the unit of the row's metric.
OF_METRIC = "metric"
# Units by the ending of a column's name, longest ending first.
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
_HEADER = ("name", "kind", "unit", "label", "format", "head", "meaning")
_NAME = re.compile(r"[a-z][a-z0-9_]*|<[a-z ]+>")
_QUOTE = "Put a field that holds a comma into double quotes"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name; the unit stands at the end, where it has one.
        kind: Type of its values. `timestamp` is UTC with microseconds, `int_list` and `string_list` are lists.
        meaning: Meaning, as the documentation says it.
        label: Heading in words, without the unit; made from the name where none is given.
        format: Code of the number format; by type where none is given.
        unit: Unit; that of the name's ending where none is given, `OF_METRIC` for the unit of the row's metric.
        head: Short heading in LaTeX, for narrow tables; the label where none is given.
    """

    name: str
    kind: Kind
    meaning: str
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


@dataclass(frozen=True)
class Table:
    """One table: what a row of it is, and its columns in order."""

    name: str
    meaning: str
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


class Tables(Mapping[str, Table]):
    """Tables by name, in the order of the folder's `tables.csv`. A table's file is read when it is first asked for.

    Args:
        folder: Folder of `FOLDER`: `tables.csv`, a file for each table named there, and `shared.csv` if any row needs it.
        groups: Makers of generated columns, by the name of their row: `<metrics>`.

    Raises:
        ConfigError: On access: a file is missing, or a row of it is not a valid declaration.
    """

    def __init__(self, folder: Path, groups: Mapping[str, Callable[[], Iterable[Column]]]) -> None:
        self._folder, self._groups = folder, groups
        self._read: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        """A table. Raises KeyError when there is none of that name."""
        if name not in self._read:
            self._read[name] = Table(name, self._meanings[name], tuple(self._columns(self._folder / f"{name}.csv")))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the tables."""
        return iter(self._meanings)

    def __len__(self) -> int:
        """Number of tables."""
        return len(self._meanings)

    @cached_property
    def _meanings(self) -> Mapping[str, str]:
        return {row["name"]: row["meaning"] for _, row in read_rows(self._folder / "tables.csv", ("name", "meaning"))}

    @cached_property
    def _shared(self) -> Mapping[str, Column]:
        return {column.name: column for column in declared_columns(self._folder / "shared.csv")}

    def _columns(self, file: Path) -> Iterator[Column]:
        for place, row in read_rows(file, _HEADER):
            name = row["name"]
            if name in self._groups:
                yield from self._groups[name]()
            elif any(value for field, value in row.items() if field != "name"):
                yield _column(place, row)
            elif name in self._shared:
                yield self._shared[name]
            else:
                known = ", ".join([*self._shared, *self._groups])
                raise ConfigError(f"{place}: {name!r} has no kind and meaning, and is not shared", f"Shared: {known}")


def declared_columns(file: Path) -> tuple[Column, ...]:
    """The columns that a file declares, none of them shared or generated. Raises ConfigError for a row that is not valid."""
    return tuple(_column(place, row) for place, row in read_rows(file, _HEADER))


def read_rows(file: Path, header: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file by field, each with its place for messages (`runs.csv, line 3`); left-out last fields are empty.

    Raises:
        ConfigError: No such file, another header, too many fields, a name that is empty or not the first of its name.
    """
    seen: set[str] = set()
    try:
        with file.open(encoding="utf-8", newline="") as text:
            lines = csv.reader(text, strict=True)
            if (first := tuple(next(lines, ()))) != header:
                raise ConfigError(f"{file}: the header is {','.join(first)!r}", f"Make it {','.join(header)}")
            for fields in lines:
                place = f"{file}, line {lines.line_num}"
                if len(fields) > len(header):
                    raise ConfigError(f"{place}: {len(fields)} fields instead of {len(header)}", _QUOTE)
                row = dict(zip(header, [*fields, *[""] * (len(header) - len(fields))], strict=True))
                if not _NAME.fullmatch(row["name"]) or row["name"] in seen:
                    problem = "a second row" if row["name"] in seen else "not a name"
                    raise ConfigError(
                        f"{place}: {row['name']!r} is {problem}", "Names are lower_case and unique in a file"
                    )
                seen.add(row["name"])
                yield place, row
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "Install sparkray again") from None


def _column(place: str, row: Mapping[str, str]) -> Column:
    for field, known in (("kind", get_args(Kind)), ("format", ("", *get_args(Format)))):
        if row[field] not in known:
            raise ConfigError(
                f"{place}: {field} {row[field]!r} of {row['name']} is unknown", f"Known: {', '.join(known)}"
            )
    if row["format"] and (row["format"] == "words") != (row["kind"] not in ("int", "float")):
        problem = f"format {row['format']!r} of {row['name']} does not fit kind {row['kind']}"
        raise ConfigError(f"{place}: {problem}", "Only numbers have a number format")
    if not row["meaning"]:
        raise ConfigError(f"{place}: {row['name']} has no meaning", "Say in a few words what its values are")
    return Column(
        row["name"],
        cast("Kind", row["kind"]),
        row["meaning"],
        label=row["label"],
        format=cast("Format | None", row["format"] or None),
        unit=row["unit"] or None,
        head=row["head"],
    )


def arrow_type(kind: Kind) -> Any:  # noqa: ANN401 - pyarrow is untyped
    """The Arrow type of values of a kind."""
    import pyarrow as pa  # noqa: PLC0415 - it takes long to import, and labels do not need it

    if kind == "timestamp":
        return pa.timestamp("us", tz="UTC")
    of_one = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.list_(of_one[kind.removesuffix("_list")]) if kind.endswith("_list") else of_one[kind]


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
