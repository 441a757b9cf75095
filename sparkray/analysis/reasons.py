"""Why a column of a row has no number: `why_null`, one JSON object a row, so that no dash stands without its reason."""

import json
from collections.abc import Iterable, Mapping

from sparkray.stats import NotEstimable

Why = dict[str, str]
"""Reasons by column."""


def note(why: Why, columns: Iterable[str], found: NotEstimable | str) -> None:
    """Columns that have no number for one and the same reason."""
    why |= dict.fromkeys(columns, found if isinstance(found, str) else found.reason)


def as_text(why: Mapping[str, str]) -> str | None:
    """The value of `why_null`; null where every column has its number."""
    return json.dumps(why, ensure_ascii=False) if why else None
