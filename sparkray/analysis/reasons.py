"""Why a column of a row has no number: `why_null`, one JSON object a row, so that no dash stands without its reason."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sparkray.stats import NotEstimable

Result = TypeVar("Result")
# Reasons by column.
Why = dict[str, str]


def note(why: Why, columns: Iterable[str], found: NotEstimable | str) -> None:
    """Columns that have no number for one and the same reason."""
    why |= dict.fromkeys(columns, found if isinstance(found, str) else found.reason)


def filled(
    columns: Sequence[str], found: Result | NotEstimable, values: Callable[[Result], Iterable[Any]], why: Why
) -> dict[str, Any]:
    """Columns with the values of an estimate; none of them, and the reason noted, where there is no estimate."""
    if isinstance(found, NotEstimable):
        note(why, columns, found)
        return {}
    return dict(zip(columns, values(found), strict=True))


def as_text(why: Mapping[str, str]) -> str | None:
    """The value of `why_null`; null where every column has its number."""
    return json.dumps(why, ensure_ascii=False) if why else None
