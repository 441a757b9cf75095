"""Which cells and arms a report shows, and in which order: the same everywhere, so that a reader finds things again."""

from collections.abc import Iterable

from sparkray.analysis import ALWAYS_SHOWN, REFERENCE_ORDER
from sparkray.report.book import Book, Row

Cell = tuple[str, str]
"""Model and level."""


def cells_of(book: Book, rows: Iterable[Row]) -> list[Cell]:
    """The cells that rows are of, small models first where sizes are known, else by name."""
    sizes = {row["group"]: row["params_b"] for row in book.rows("size", group_by="size")}
    found = {(row["model"], row["level"] or "") for row in rows}
    return sorted(found, key=lambda key: (sizes.get(key[0]) or 0.0, key))


def arms_of(rows: Iterable[Row]) -> list[str]:
    """The environments that rows are of, the reference first."""

    def rank(name: str) -> tuple[int, str]:
        return (REFERENCE_ORDER.index(name) if name in REFERENCE_ORDER else len(REFERENCE_ORDER), name)

    return sorted({row["environment"] for row in rows}, key=rank)


def primary_metrics(book: Book) -> list[str]:
    """The primary metrics that were compared; without any, what every reader asks for."""
    compared = list(dict.fromkeys(row["metric"] for row in book.rows("comparisons", primary=True)))
    there = {row["metric"] for row in book.rows("comparisons")}
    return compared or [metric for metric in ALWAYS_SHOWN if metric in there]


def first_metric(book: Book) -> str | None:
    """The first primary metric."""
    return next(iter(primary_metrics(book)), None)
