"""Reads a column of cells as numbers: decimal commas, grouped thousands, units in cells, `x ± y`. Pure.

A column is read as a whole, because one cell may not show what its comma means: `12,345` is twelve thousand beside
`1,180.5`, and twelve beside `9,5`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sparkray.audit import values

_SPACES = str.maketrans("", "", " '’\u00a0\u2009\u202f")
_NUMBER = r"[+-]?(?:\d{1,3}(?:[ '’\u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?|\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?"
_CELL = re.compile(
    rf"(?P<number>{_NUMBER})\s*(?P<inner>[^\d\s±+(-][^±\d+]*?)?\s*"
    rf"(?:(?P<spread>\(?\s*(?:±|\+/-|\+-)\s*{_NUMBER}\s*\)?|\s\({_NUMBER}\))\s*(?P<unit>[^\d\s][^\d]*)?)?"
)
_COMMA = re.compile(r"[+-]?(\d+,(\d{1,2}|\d{4,})|0,\d+|\d{1,3}(\.\d{3})+,\d+)")
_POINT = re.compile(r"[+-]?(\d*\.(\d{1,2}|\d{4,})|0\.\d+|\d{1,3}(,\d{3})+\.\d+)")

# Unit: dimension, and how many of the dimension's own unit (ms, GiB, per second, W, J, MHz, °C, %, count) it is.
_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("ns", "nsec"), ("time", 1e-6)),
    **dict.fromkeys(("us", "µs", "μs", "usec"), ("time", 1e-3)),
    **dict.fromkeys(("ms", "msec", "milliseconds"), ("time", 1.0)),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), ("time", 1e3)),
    **dict.fromkeys(("min", "minutes"), ("time", 6e4)),
    **dict.fromkeys(
        (
            "tok/s",
            "tokens/s",
            "token/s",
            "t/s",
            "tps",
            "tokens/sec",
            "tok/sec",
            "toks/s",
            "tokens/second",
            "tokens/sec/user",
            "jetons/s",
        ),
        ("rate", 1.0),
    ),
    **dict.fromkeys(
        (
            "req/s",
            "requests/s",
            "requests/sec",
            "rps",
            "qps",
            "queries/s",
            "queries/sec",
            "samples/s",
            "infer/sec",
            "it/s",
        ),
        ("rate", 1.0),
    ),
    **dict.fromkeys(("ktok/s", "kt/s", "k tok/s", "ktps"), ("rate", 1e3)),
    "kb": ("memory", 1e3 / 2**30),
    "mb": ("memory", 1e6 / 2**30),
    "gb": ("memory", 1e9 / 2**30),
    "kib": ("memory", 2.0**-20),
    "mib": ("memory", 2.0**-10),
    "gib": ("memory", 1.0),
    "w": ("power", 1.0),
    "kw": ("power", 1e3),
    "j": ("energy", 1.0),
    "kj": ("energy", 1e3),
    "wh": ("energy", 3600.0),
    "mhz": ("clock", 1.0),
    "ghz": ("clock", 1e3),
    **dict.fromkeys(("c", "°c"), ("temperature", 1.0)),
    **dict.fromkeys(("%", "pct"), ("share", 1.0)),
    **dict.fromkeys(("tok", "tokens", "requests", "req", "runs", "x"), ("count", 1.0)),
}
_THOUSAND = "k"
_CLOCK = re.compile(r"(?:(?P<h>\d+)\s*h\s*)?(?P<min>\d+)\s*m(?:in)?\s*(?P<s>\d+(?:\.\d+)?)\s*s(?:ec)?", re.IGNORECASE)
# Shares of something are of 1: `0.5%` in a column `error_rate` is 0.005.
_NAME_SHARE = re.compile(r"[^\W_][ _-](rate|share|ratio|fraction)$", re.IGNORECASE)
_NAME_UNIT = re.compile(r"(tok_s|req_s|ms|us|ns|s|gib|gb|mib|mb|kib|kb|w|j|mhz|ghz|c|pct)$")


@dataclass(frozen=True)
class Numbers:
    """A column as numbers: None for an empty cell and for one that is lost, of which `example` is the first."""

    values: list[float | None]
    lost: int = 0
    example: Any = None
    spread: bool = False


def unit_of(word: str) -> tuple[str, float] | None:
    """Dimension and size of a unit as people write it; None for what is none."""
    return _UNITS.get(" ".join(word.split()).casefold().replace("tokens per second", "tok/s"))


def read_numbers(name: str, cells: Sequence[Any], *, decimal_comma: bool = False) -> Numbers:
    """Numbers of a column.

    Args:
        name: Its name; a unit at its end (`_ms`, `_gib`) is the one that cells with units are converted to.
        cells: As the file has them.
        decimal_comma: Whether other columns of the file write decimals with a comma.
    """
    plain = None if decimal_comma else plain_numbers(cells)
    if plain is not None:
        return Numbers([*plain])
    strings = [cell for cell in cells if isinstance(cell, str) and not cell.isdecimal()]
    comma = _decimal_comma(strings, by_default=decimal_comma)
    in_per_cent = any(cell.rstrip().endswith("%") for cell in strings)
    base = ("share", 100.0) if in_per_cent and _NAME_SHARE.search(name) else _name_unit(name)
    read: list[float | None] = []
    lost, example, spread = 0, None, False
    for cell in cells:
        if isinstance(cell, float | int) and not isinstance(cell, bool):
            value = values.number(cell)
        elif not isinstance(cell, str):
            value = None
        else:
            value = values.number(cell) if not comma else None
            if value is None and not values.missing(cell):
                value, base, with_spread = _quantity(cell, base, comma=bool(comma))
                spread = spread or with_spread
        if value is None and not values.missing(cell):
            lost, example = lost + 1, cell if example is None else example
        read.append(value)
    return Numbers(read, lost, example, spread)


def plain_numbers(cells: Sequence[Any]) -> list[float] | None:
    """Numbers of a column that has nothing else, which most have: a cell at a time is slow for long tables."""
    if (alone := _texts_alone(cells)) is not None:
        return alone
    try:
        read = np.fromiter(map(float, cells), float, len(cells))
    except (TypeError, ValueError, OverflowError):
        return None
    if not np.all(np.abs(read) < values.GREATEST):  # NaN is not below either
        return None
    if any(isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell) for cell in cells):
        return None
    numbers: list[float] = read.tolist()
    return numbers


def _texts_alone(cells: Sequence[Any]) -> list[float] | None:
    """Numbers of a column of texts, in half the time of float(); None where a cell is not a text, or not a number."""
    try:
        read = pl.Series(cells, dtype=pl.String).cast(pl.Float64, strict=False)
    except (TypeError, ValueError, OverflowError):  # numbers beside texts, or texts that cannot be encoded
        return None
    is_whole = not read.null_count() and bool((read.abs() < values.GREATEST).all())  # NaN is above all
    return read.to_list() if is_whole else None


def decimal_comma(columns: Sequence[Sequence[Any]]) -> bool:
    """Whether a file writes decimals with a comma: some cell shows it, and none shows a decimal point."""
    with_commas = [strings for column in columns if "," in "".join(strings := _strings(column))]
    return any(map(_shows_comma, with_commas)) and not any(_shows_point(_strings(column)) for column in columns)


def _strings(column: Sequence[Any]) -> Sequence[str]:
    return [cell for cell in column if isinstance(cell, str)] if None in column else column


def _shows_comma(strings: Sequence[str]) -> bool:
    """Whether any cell can only be read with a decimal comma."""
    return any(_COMMA.fullmatch(_head(cell)) for cell in strings if "," in cell)


def _shows_point(strings: Sequence[str]) -> bool:
    """Whether any cell can only be read with a decimal point."""
    return any(_POINT.fullmatch(_head(cell)) for cell in strings if "." in cell)


def _head(cell: str) -> str:
    """The number that a cell begins with."""
    match = _CELL.fullmatch(cell.strip())
    return "" if match is None else match["number"].translate(_SPACES)


def _decimal_comma(strings: Sequence[str], *, by_default: bool) -> bool:
    comma = _shows_comma(strings)
    if not comma and not by_default:
        return False
    point = _shows_point(strings)
    return comma if comma != point else by_default and not point


def _name_unit(name: str) -> tuple[str, float] | None:
    match = _NAME_UNIT.search(name.casefold()) if "_" in name else None
    return None if match is None else unit_of(match[1].replace("tok_s", "tok/s").replace("req_s", "req/s"))


def _quantity(
    cell: str, base: tuple[str, float] | None, *, comma: bool
) -> tuple[float | None, tuple[str, float] | None, bool]:
    """A cell's number in the base unit, the base (the first unit of the column, where its name has none), and `±`."""
    match = _CELL.fullmatch(cell.strip())
    if match is None:
        return *_duration(cell, base), False
    bare = match["number"].translate(_SPACES)
    bare = bare.replace(".", "").replace(",", ".") if comma else bare
    value, spread = values.number(bare), match["spread"] is not None
    word = (match["inner"] or match["unit"] or "").strip()
    if value is None or not word:
        return value, base, spread
    scale = 1.0
    unit = unit_of(word)
    if unit is None and word[:1].casefold() == _THOUSAND:
        scale, unit = 1e3, unit_of(word[1:]) if word[1:].strip() else ("count", 1.0)
    if unit is None:
        return None, base, spread
    if unit[0] == "count":
        return value * scale, base, spread
    base = base or unit
    return (value * unit[1] / base[1] if unit[0] == base[0] else None), base, spread


def _duration(cell: str, base: tuple[str, float] | None) -> tuple[float | None, tuple[str, float] | None]:
    """A time in hours, minutes and seconds (`1m12s`) in the base unit, which is the millisecond where there is none."""
    match, base_or_ms = _CLOCK.fullmatch(cell.strip()), base or _UNITS["ms"]
    if match is None or base_or_ms[0] != "time":
        return None, base
    parts = sum(
        float(match[unit] or 0) * _UNITS["min" if unit == "h" else unit][1] * (60 if unit == "h" else 1)
        for unit in ("h", "min", "s")
    )
    return parts / base_or_ms[1], base_or_ms
