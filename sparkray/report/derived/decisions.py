"""Which of two environments, model by model: a rule on verdicts, the rule told with the advice.

The choice is between an environment and the one that it was compared with, whatever they are: native and a container, or two
containers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.report.labels import arm, better, metric_name, unit_of

_SCHEMA = {
    "trace": pl.String(),
    "model": pl.String(),
    "level": pl.String(),
    "environment": pl.String(),
    "against": pl.String(),
    "advice": pl.String(),
    "because": pl.String(),
    "extra_gib": pl.Float64(),
    "supports": pl.String(),
    "source": pl.String(),
}
RULE = (
    "The choice is between an environment and its reference. Speed first: a primary metric of speed that is different for "
    "the worse says the reference; one that is undecided leaves the choice open. Then memory: different for the worse "
    "says the environment if there is memory to spare; undecided says the environment, memory open. Otherwise the "
    "environment: a container against a process without one brings isolation and a fixed environment at no cost above "
    "the margins; against another container the choice costs nothing above them."
)
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
    advice, because = _decided(compared)
    return {
        "trace": f"decisions/{first['model']}/{first['level']}/{first['environment']}",
        "model": first["model"],
        "level": first["level"],
        "environment": first["environment"],
        "against": first["against"],
        "advice": advice,
        "because": because,
        "extra_gib": _extra(analysis, first, compared),
        "supports": json.dumps([row["trace"] for row in compared]),
        "source": f"verdicts of the primary comparisons. {RULE} Extra memory: difference of means in `descriptive`",
    }


def _is_memory(row: Row) -> bool:
    return unit_of(row["metric"]) == "GiB"


def worse(row: Row) -> bool:
    """Whether a comparison is different in the direction that nobody wants."""
    if row["verdict"] != "different":
        return False
    up = row["ratio"] > 1
    return (better(row["metric"]) == "lower" and up) or (better(row["metric"]) == "higher" and not up)


def _decided(compared: Sequence[Row]) -> tuple[str, str]:
    here, there = arm(compared[0]["environment"]), arm(compared[0]["against"])
    speed = [row for row in compared if not _is_memory(row)]
    memory = [row for row in compared if _is_memory(row)]
    slower = [row for row in speed if worse(row)]
    if slower:
        return (
            f"{there}, where speed counts",
            f"{_names(slower)} of the {here} beyond the margin, worse",
        )
    open_speed = [row for row in speed if row["verdict"] not in ("equivalent", "different")]
    if open_speed or not speed:
        return "open", f"{_names(open_speed)}: not decided" if speed else "no primary metric of speed"
    larger = [row for row in memory if worse(row)]
    if larger:
        return (
            f"{here}, if there is memory to spare",
            f"speed within the margins; {_names(larger)} larger beyond its own",
        )
    if any(row["verdict"] not in ("equivalent", "different") for row in memory):
        return f"{here}, memory open", f"speed within the margins; {_names(memory)}: not decided"
    return here, "nothing primary is worse beyond its margin"


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(metric_name(row["metric"]) for row in rows)


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
