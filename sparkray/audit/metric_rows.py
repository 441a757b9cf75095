"""Tables with a metric a row (`| Metric | Native | Docker |`, or columns `metric` and `value`) with a run a row. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.audit import values
from sparkray.audit.names import known_as, plain
from sparkray.audit.quantities import unit_of
from sparkray.audit.rows import Row, as_columns
from sparkray.audit.wide import is_metric, named_arm, of_both

_METRIC, _VALUE, _UNIT = ("metric", "metric_name", "measure"), ("value", "result", "mean", "avg"), ("unit", "units")
_MOSTLY = 0.5


def run_rows(rows: Sequence[Row], columns: Sequence[str]) -> list[Row] | None:
    """A row a run; None where metrics are no rows."""
    return _of_values(rows, columns) or _of_columns(rows, columns)


def _of_values(rows: Sequence[Row], columns: Sequence[str]) -> list[Row] | None:
    """Of columns `metric` and `value`: rows that agree in all others are a run, until a metric comes again."""
    metric, value, unit = (
        next((name for name in columns if plain(name) in names), None) for names in (_METRIC, _VALUE, _UNIT)
    )
    if metric is None or value is None:
        return None
    runs: list[dict[str, Any]] = []
    current: dict[tuple[str, ...], dict[str, Any]] = {}
    shown = 0
    for row in rows:
        label = _labelled(row.get(metric), row.get(unit) if unit else None)
        rest = {name: cell for name, cell in row.items() if name not in (metric, value, unit)}
        key = tuple(map(str, rest.values()))
        if key not in current or label in current[key]:
            current[key] = rest
            runs.append(rest)
        current[key][label] = row.get(value)
        shown += _measures(label, [row.get(value)])
    return [*runs] if shown >= _MOSTLY * len(rows) else None


def _of_columns(rows: Sequence[Row], columns: Sequence[str]) -> list[Row] | None:
    """Of a first column with names of metrics: each other column is a run, of an arm or of a model by its header."""
    first, *rest = [name for name in columns if name != "group"] or [""]
    cells = as_columns(rows)  # rows of a long table take long to make
    unit = next((name for name in rest if rows and all(unit_of(str(cell or "")) for cell in cells[name])), None)
    rest = [name for name in rest if name != unit and not of_both(name)]
    units = cells[unit] if unit else [None] * len(rows)
    labels = [_labelled(label, of) for label, of in zip(cells.get(first, ()), units, strict=True)]
    if not rest or len(set(labels)) < len(labels):
        return None
    known = sum(_measures(label, [row.get(name) for name in rest]) for label, row in zip(labels, rows, strict=True))
    if known <= _MOSTLY * len(labels):
        return None
    if any(_measures(name, [row.get(name) for row in rows]) for name in rest):
        return None
    heading = "environment" if any(map(named_arm, rest)) else "model"
    return [
        {
            **{label: row.get(name) for label, row in zip(labels, rows, strict=True)},
            heading: named_arm(name) or name,
            **_group(rows[0]),
        }
        for name in rest
        if any(not values.missing(row.get(name)) for row in rows)
    ]


def _group(row: Row) -> Mapping[str, Any]:
    return {"group": row["group"]} if "group" in row else {}


def _labelled(label: Any, unit: Any) -> str:  # noqa: ANN401 - as the file has it
    name = str(label or "").strip()
    return f"{name} ({unit})" if unit and unit_of(str(unit)) else name


def _measures(label: str, cells: Sequence[Any]) -> bool:
    ours = known_as(label, cells)
    return ours is not None and is_metric(ours)
