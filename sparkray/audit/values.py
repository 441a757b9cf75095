"""Parses dirty values into typed ones; what does not parse is None, and the caller counts it. Pure."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

GREATEST = 1e15
LEAST = 1e-9
_MOST_INTEGER = 10**12
_TIMES = (
    "%Y%m%d_%H%M%S",
    "%Y%m%d-%H%M%S",
    "%Y-%m-%d %H:%M:%S%z",  # hours of one digit, which ISO 8601 has not
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%Y/%m/%d %H:%M:%S",
)
# Hours east of Greenwich of zones that logs write by their letters; other letters (IST, CST of China) mean several.
_ZONES = {
    "Z": 0,
    "UTC": 0,
    "GMT": 0,
    "BST": 1,
    "CET": 1,
    "CEST": 2,
    "JST": 9,
    "EST": -5,
    "EDT": -4,
    "CDT": -5,
    "PST": -8,
    "PDT": -7,
}
_ZONE = re.compile(rf"\s*(?<![a-z])({'|'.join(_ZONES)})$", re.IGNORECASE)
# Also in the languages of spreadsheets: German, French, Spanish, Italian, Portuguese, Dutch, Russian, Japanese, Chinese.
_YES = (
    "true", "yes", "y", "1", "on", "✅", "✓", "✔", "✔️", "wahr", "ja", "vrai", "oui", "verdadero", "sí", "si", "vero", "sì",
    "verdadeiro", "sim", "waar", "истина", "да", "はい", "是",
)  # fmt: skip
_NO = (
    "false", "no", "n", "0", "", "off", "❌", "✗", "✘", "falsch", "nein", "faux", "non", "falso", "não", "onwaar", "nee",
    "ложь", "нет", "いいえ", "否",
)  # fmt: skip
SECONDS = (1e8, 1e11)
_EPOCHS_S = ((*SECONDS, 1.0), (1e11, 1e14, 1e-3), (1e17, 1e20, 1e-9))
_DATE_DIGITS = 8
# What people write where they have no value.
_NOTHING = frozenset(("", "-", "--", "---", "–", "—", "n/a", "na", "nan", "none", "null", "nil", "missing", "#n/a"))
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


def missing(value: Any) -> bool:  # noqa: ANN401 - whatever a file held
    """Whether a cell states that it has no value."""
    if isinstance(value, str):
        return not value[:1].isdigit() and value.strip().casefold() in _NOTHING
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> float | None:  # noqa: ANN401
    """A finite number below 1e15 in size, also as text (`1180.5`, `1,180.5`); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        if "_" in value:  # Python reads `20251110_090000` as a number
            return None
        if "," in value and _GROUPED.fullmatch(value.strip()):
            value = value.replace(",", "")
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
    if isinstance(value, str) and value.isascii():
        return value.strip() or None
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
    """A moment in seconds since 1970, from a datetime, `YYYYMMDD_HHMMSS`, ISO 8601 or an epoch; no zone is UTC."""
    moment = _moment(value) if not isinstance(value, float) else None
    if moment is not None:
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        try:
            return (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        except OverflowError:
            return None
    as_number = number(value) if not isinstance(value, int) or isinstance(value, bool) else float(min(value, 10**21))
    scales = (scale for low, high, scale in _EPOCHS_S if as_number is not None and low < as_number < high)
    scale = next(scales, None)
    return None if as_number is None or scale is None else as_number * scale


def has_zone(value: Any) -> bool:  # noqa: ANN401
    """Whether a moment states its time zone; seconds since 1970 do."""
    moment = _moment(value)
    return moment is None or moment.tzinfo is not None


def _moment(value: Any) -> datetime | None:  # noqa: ANN401
    if isinstance(value, datetime):
        return value
    written = value.strip() if isinstance(value, str) else None
    if not written or not written[:1].isdigit() or (len(written) > _DATE_DIGITS and written.isdecimal()):
        return None
    if written.replace(".", "", 1).isdigit():  # seconds since 1970
        return None
    zone = _ZONE.search(written)
    local = written if zone is None else written[: zone.start()]
    for parse in (datetime.fromisoformat, *(_strptime(form) for form in _TIMES)):
        try:
            moment = parse(local)
        except (ValueError, OverflowError):
            continue
        if zone is None:
            return moment
        # A zone in letters behind one in digits (`+02:00 CEST`) adds nothing.
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone(timedelta(hours=_ZONES[zone[1].upper()])))
    return None


def _strptime(form: str) -> Callable[[str], datetime]:
    return lambda written: datetime.strptime(written, form)  # noqa: DTZ007 - a zone is added where it is known
