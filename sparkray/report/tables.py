"""Rows of a report's tables as templates read them: chosen by value, with JSON columns decoded, in a reader's order."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sparkray.report.cells import cells_of, primary_metrics
from sparkray.report.data import ReportData

Row = dict[str, Any]


class Recorded(dict[str, Any]):
    """What a dataset records of a study. A key that an older one lacks is not known, which is None."""

    def __missing__(self, key: str) -> None:
        """Not known."""


def recorded(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value with every mapping in it as `Recorded`."""
    if isinstance(value, Mapping):
        return Recorded({key: recorded(inner) for key, inner in value.items()})
    return [recorded(inner) for inner in value] if isinstance(value, list) else value


class Tables:
    """The tables of a report, as templates read them."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self.primary = primary_metrics(data)
        self._known: dict[str, list[Row]] = {}

    def rows(self, name: str, /, **where: object) -> list[Row]:
        """Rows that have these values; `facts` holds what a column `numbers` encodes, with the row's trace."""
        if name not in self._known:
            self._known[name] = [_decoded(row) for row in self.data.table(name).iter_rows(named=True)]
        return [row for row in self._known[name] if all(row.get(key) == value for key, value in where.items())]

    def row(self, name: str, /, **where: object) -> Row | None:
        """The first of these rows, if there is one."""
        return next(iter(self.rows(name, **where)), None)

    def by_name(self, name: str, column: str) -> dict[str, Row]:
        """The rows of a table by a column that names them."""
        return {str(row[column]): row for row in self.rows(name)}

    def by_model(self, rows: Iterable[Row]) -> list[Row]:
        """Rows of cells, small models first."""
        listed = [{"level": "", **row} for row in rows]
        cells = cells_of(self.data, listed)
        return sorted(listed, key=lambda row: cells.index((row["model"], row["level"] or "")))


def _decoded(row: Row) -> Row:
    """A row whose numbers are decoded."""
    if "numbers" not in row:
        return row
    return {**row, "facts": {**json.loads(row["numbers"] or "{}"), "trace": row["trace"]}}
