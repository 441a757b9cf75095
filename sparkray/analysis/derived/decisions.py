"""Which of two environments to use, model by model: a rule applied to the verdicts.

The rule, first match wins. Speed metrics: one different for the worse chooses the reference (`slower`); one without a
decision leaves the choice open (`speed_undecided`), as does having none (`no_speed_metric`). Memory: different for the worse
chooses the environment where memory is to spare (`more_memory`); without a decision it chooses the environment, memory open
(`memory_undecided`). Otherwise the environment (`not_worse`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.metrics import BY_NAME

_SCHEMA = {
    "trace": pl.String(),
    "model": pl.String(),
    "level": pl.String(),
    "environment": pl.String(),
    "against": pl.String(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "metrics": pl.String(),
    "extra_gib": pl.Float64(),
    "supports": pl.String(),
}
"""`outcome` is `environment`, `reference` or `open`; `metrics` names those that decided, separated by spaces."""
Row = Mapping[str, Any]


def decisions(analysis: Analysis) -> pl.DataFrame:
    """One row a model, level and environment with a primary comparison."""
    primary = analysis.tables["comparisons"].filter(pl.col("primary"))
    rows = [
        _row(analysis, list(group.iter_rows(named=True)))
        for _, group in primary.group_by("model", "level", "environment", maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _row(analysis: Analysis, compared: Sequence[Row]) -> dict[str, Any]:
    first = compared[0]
    outcome, reason, metrics = _decided(compared)
    return {
        "trace": f"decisions/{first['model']}/{first['level']}/{first['environment']}",
        "model": first["model"],
        "level": first["level"],
        "environment": first["environment"],
        "against": first["against"],
        "outcome": outcome,
        "reason": reason,
        "metrics": " ".join(metrics),
        "extra_gib": _extra(analysis, first, compared),
        "supports": json.dumps([row["trace"] for row in compared]),
    }


def _is_memory(row: Row) -> bool:
    return str(row["metric"]).endswith("_gib")


def worse(row: Row) -> bool:
    """Whether a comparison is different in the direction that nobody wants."""
    metric = BY_NAME.get(row["metric"])
    if row["verdict"] != "different" or metric is None:
        return False
    return metric.better == ("lower" if row["ratio"] > 1 else "higher")


def _decided(compared: Sequence[Row]) -> tuple[str, str, list[str]]:
    """Outcome, reason and the metrics that it rests on."""
    speed = [row for row in compared if not _is_memory(row)]
    memory = [row for row in compared if _is_memory(row)]
    if slower := list(filter(worse, speed)):
        return "reference", "slower", _names(slower)
    if unclear := list(filter(_undecided, speed)):
        return "open", "speed_undecided", _names(unclear)
    if not speed:
        return "open", "no_speed_metric", []
    if larger := list(filter(worse, memory)):
        return "environment", "more_memory", _names(larger)
    if unclear := list(filter(_undecided, memory)):
        return "environment", "memory_undecided", _names(unclear)
    return "environment", "not_worse", []


def _undecided(row: Row) -> bool:
    return row["verdict"] not in ("equivalent", "different")


def _names(rows: Sequence[Row]) -> list[str]:
    return [row["metric"] for row in rows]


def _extra(analysis: Analysis, first: Row, compared: Sequence[Row]) -> float | None:
    """Mean memory of the environment less that of its reference, GiB."""
    metric = next((row["metric"] for row in compared if _is_memory(row)), None)
    if metric is None:
        return None
    described = analysis.tables["descriptive"].filter(
        (pl.col("model") == first["model"]) & (pl.col("level") == first["level"]) & (pl.col("metric") == metric)
    )
    means = dict(described.select("environment", "mean").iter_rows())
    here, there = means.get(first["environment"]), means.get(first["against"])
    return None if here is None or there is None else here - there
