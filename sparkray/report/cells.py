"""Which cells and arms a report shows, and in which order: the same everywhere, so that a reader finds things again."""

from collections.abc import Iterable

from sparkray.analysis import ALWAYS_SHOWN
from sparkray.analysis.frames import rank
from sparkray.report.data import ReportData, Row

# Model and level.
Cell = tuple[str, str]


def cells_of(data: ReportData, rows: Iterable[Row]) -> list[Cell]:
    """The cells that rows are of, small models first where sizes are known, else by name."""
    sizes = {row["group"]: row["params_b"] for row in data.rows("size", group_by="size")}
    found = {(row["model"], row["level"] or "") for row in rows}
    return sorted(found, key=lambda key: (sizes.get(key[0]) or 0.0, key))


def arms_of(rows: Iterable[Row]) -> list[str]:
    """The environments that rows are of, the reference first."""
    return sorted({row["environment"] for row in rows}, key=lambda name: (rank(name), name))


def primary_metrics(data: ReportData) -> list[str]:
    """The primary metrics that were compared; without any, what every reader asks for."""
    compared = list(dict.fromkeys(row["metric"] for row in data.rows("comparisons", primary=True)))
    there = {row["metric"] for row in data.rows("comparisons")}
    return compared or [metric for metric in ALWAYS_SHOWN if metric in there]


def first_metric(data: ReportData) -> str | None:
    """The first primary metric."""
    return next(iter(primary_metrics(data)), None)
