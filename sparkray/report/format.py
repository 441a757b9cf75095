"""Number formats of everything that is printed: page, paper, Markdown, terminal. Pure."""

from collections.abc import Iterable

from sparkray.analysis.forms import FORMS, MISSING, probability, shown, significant

__all__ = ["FORMS", "MISSING", "interval", "listed", "probability", "shown", "significant"]


def interval(low: object, high: object, form: str) -> str:
    """`0.9949 to 1.0012`; one number where both ends look alike, a dash where neither is known."""
    ends = shown(low, form), shown(high, form)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def listed(items: Iterable[object], last: str = "and") -> str:
    """`a, b and c`."""
    *head, tail = [str(item) for item in items] or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail
