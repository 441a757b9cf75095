"""Names that tables give to sparkray's columns (`aliases.yaml`), and units in headers. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from sparkray.audit import values
from sparkray.audit.quantities import unit_of

_UNIT = re.compile(r"\s*(?:[(\[]\s*([^)\]]+?)\s*[)\]]|,\s*(\S.*?))\s*$")
_SAMPLE = 200
_COUNTS = ("batch", "requests_asked", "requests_completed", "requests_failed")
_NAMED_UNIT = re.compile(r"_(ms|tok_s|req_s|gib)$")
_TARGET = {"ms": "ms", "tok_s": "tok/s", "req_s": "req/s", "gib": "GiB"}


def known_as(header: str, cells: Sequence[Any]) -> str | None:
    """Sparkray's name of a column by its header, if its cells and its unit can be of that quantity."""
    base, unit = _parts(header)
    ours = _aliases().get(_plain(header)) or (_aliases().get(_plain(base)) if unit else None)
    if ours is None or not _FITS.get(ours, _any)([cell for cell in cells[:_SAMPLE] if not values.missing(cell)]):
        return None
    target = _target(ours)
    if target is None:
        return ours
    dimension = unit_of(unit) if unit else None
    if dimension is not None:
        return ours if dimension[0] == target[0] else None
    # A time without a unit anywhere may be seconds or milliseconds.
    return ours if target[0] == "rate" or _shows_unit(header, ours) or _cells_have_unit(cells) else None


def with_unit(header: str, ours: str, cells: Sequence[Any]) -> Sequence[Any]:
    """Cells with the unit of their header, where that is not the one of sparkray's name."""
    unit, target = _header_unit(header), _target(ours)
    if ours == header or unit is None or target is None or unit_of(unit) == target:
        return cells
    return [cell if values.number(cell) is None else f"{cell} {unit}" for cell in cells]


def _header_unit(header: str) -> str | None:
    unit = _parts(header)[1]
    if unit is not None:
        return unit if unit_of(unit) else None
    tail = header.casefold().rpartition("_")[2]
    return tail if tail in ("ms", "s", "us", "ns", "sec", "seconds") and "tok" not in header.casefold() else None


def _shows_unit(header: str, ours: str) -> bool:
    return _header_unit(header) is not None or _plain(header) == ours


def _cells_have_unit(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, str) and cell.strip()[-1:].isalpha() and cell.strip()[:1].isdigit() for cell in cells)


@cache
def _parts(header: str) -> tuple[str, str | None]:
    """A header without its unit, and the unit: `Latency (s)`, `Throughput, tok/s`."""
    match = _UNIT.search(header)
    return (header, None) if match is None else (header[: match.start()], match[1] or match[2])


def _target(ours: str) -> tuple[str, float] | None:
    match = _NAMED_UNIT.search(ours)
    return None if match is None else unit_of(_TARGET[match[1]])


@cache
def _plain(header: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", header.casefold()).strip("_")


def _any(_: Sequence[Any]) -> bool:
    return True


def _counts(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.integer(cell) is not None for cell in cells)


def _words(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.number(cell) is None and values.text(cell) is not None for cell in cells)


def _moments(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.seconds(cell) is not None for cell in cells)


_FITS: Mapping[str, Callable[[Sequence[Any]], bool]] = {
    **dict.fromkeys(_COUNTS, _counts),
    **dict.fromkeys(("model", "environment", "gpu"), _words),
    "started_s": _moments,
}


@cache
def _aliases() -> Mapping[str, str]:
    import yaml  # noqa: PLC0415 - only a table needs it

    source = yaml.safe_load((files(__package__) / "aliases.yaml").read_text("utf-8"))
    # `latency_s` and `ttft_ms` are the alias with its unit; a name of sparkray's in other letters is that name.
    plain = {alias: ours for ours, listed in source.items() for alias in listed}
    timed = {
        f"{alias}_{unit}": ours for alias, ours in plain.items() if ours.endswith("_ms") for unit in ("ms", "s", "sec")
    }
    return {**{ours: ours for ours in source}, **timed, **plain}
