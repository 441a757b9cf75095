"""Parses dirty values into typed ones; what does not parse is None, and the caller counts it. Pure."""

import math
from datetime import UTC, datetime
from typing import Any

GREATEST = 1e15
LEAST = 1e-9
_MOST_INTEGER = 10**12
_COMPACT_TIME = "%Y%m%d_%H%M%S"
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0", "")
_EARLIEST_S, _LATEST_S = 1e8, 1e11


def number(value: Any) -> float | None:  # noqa: ANN401 - whatever a file held
    """A finite number below 1e15 in size, also when written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:  # Python reads `20251110_090000` as a number
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) and abs(parsed) < GREATEST else None


def integer(value: Any) -> int | None:  # noqa: ANN401
    """A whole number."""
    parsed = number(value)
    return int(parsed) if parsed is not None and parsed.is_integer() and abs(parsed) < _MOST_INTEGER else None


def text(value: Any) -> str | None:  # noqa: ANN401
    """Text that can be encoded; numbers are written out; empty is None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return str(value).encode("utf-8", "replace").decode().strip() or None
    except ValueError:
        return None


def flag(value: Any) -> bool | None:  # noqa: ANN401
    """A yes or no."""
    if isinstance(value, bool):
        return value
    word = (text(value) or "").casefold()
    return True if word in _YES else False if word in _NO else None


def seconds(value: Any) -> float | None:  # noqa: ANN401
    """A moment in seconds since 1970, from a datetime, `YYYYMMDD_HHMMSS`, ISO 8601 or such seconds; no zone is UTC."""
    if isinstance(value, datetime):
        return _since_1970(value)
    written = text(value)
    if written is None:
        return None
    for parse in (lambda: datetime.strptime(written, _COMPACT_TIME).replace(tzinfo=UTC), _iso(written)):
        try:
            return _since_1970(parse())
        except (ValueError, OverflowError):
            continue
    as_number = number(value)
    return as_number if as_number is not None and _EARLIEST_S < as_number < _LATEST_S else None


def _iso(written: str) -> Any:  # noqa: ANN401
    return lambda: datetime.fromisoformat(written)


def _since_1970(moment: datetime) -> float:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
