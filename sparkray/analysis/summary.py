"""Summary of a sweep at its end: estimates and verdicts of the plan's ok runs.

Only runs with status ok count; comparisons are made inside blocks, between runs of the same model. When a run was
attempted more than once, the one that is ok stands for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sparkray.analysis.comparison import Row, judged, sentence
from sparkray.analysis.frames import REFERENCE_ORDER
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.descriptive import Description, describe
from sparkray.stats.paired import Ratio, paired_ratio

ALWAYS_SHOWN = ("output_throughput_tok_s", "latency_mean_ms", "ttft_mean_ms", "host_available_drop_peak_gib")


@dataclass(frozen=True)
class Cell:
    """One metric of one model in one environment."""

    model: str
    environment: str
    metric: str
    values: Description


def frame_of(rows: Sequence[Mapping[str, Any]], run_ids: set[str]) -> pl.DataFrame:
    """The ok runs of a plan, one row each, in order of block."""
    kept = [
        {key: row.get(key) for key in ("run_id", "model", "environment", "block", *BY_NAME)}
        | {"model": _cell_name(row)}
        for row in rows
        if row["status"] == "ok" and row["run_id"] in run_ids
    ]
    schema = {
        "run_id": pl.String,
        "model": pl.String,
        "environment": pl.String,
        "block": pl.Int64,
        **dict.fromkeys(BY_NAME, pl.Float64),
    }
    return pl.DataFrame(kept, schema=schema).unique("run_id", keep="first", maintain_order=True).sort("model", "block")


def _cell_name(row: Mapping[str, Any]) -> str:
    """The model, with the level of the load where an experiment has more than one."""
    return f"{row['model']} {row['level']}" if row.get("level") else str(row["model"])


def cells(frame: pl.DataFrame, metrics: Sequence[str]) -> list[Cell]:
    """n, mean, sd and CV of each metric in each environment of each model."""
    found: list[Cell] = []
    for (model, environment), group in frame.group_by("model", "environment", maintain_order=True):
        found += [
            Cell(str(model), str(environment), metric, describe(group[metric].drop_nulls().to_list()))
            for metric in metrics
        ]
    return sorted(found, key=lambda cell: (cell.model, _rank(cell.environment), metrics.index(cell.metric)))


def comparisons(frame: pl.DataFrame, metrics: Sequence[str], margins: Mapping[str, float]) -> list[Row]:
    """Every environment against the reference (native, else host), paired by block: rows as in `comparisons`."""
    rows: list[Row] = []
    for model in frame["model"].unique(maintain_order=True).to_list():
        of_model = frame.filter(pl.col("model") == model)
        environments = sorted(of_model["environment"].unique().to_list(), key=_rank)
        for environment in environments[1:]:
            rows += [_compared(of_model, environments[0], environment, name, margins.get(name)) for name in metrics]
    return rows


def _compared(frame: pl.DataFrame, against: str, environment: str, metric: str, margin: float | None) -> Row:
    result = _paired(frame, against, environment, metric)
    row: Row = {"model": frame["model"][0], "environment": environment, "against": against, "metric": metric}
    row |= {"better": BY_NAME[metric].better, "margin": margin, **judged(result, margin)}
    row["n"] = result.n if isinstance(result, Ratio) else None
    return {**row, "sentence": sentence(row)}


def _rank(environment: str) -> int:
    return REFERENCE_ORDER.index(environment) if environment in REFERENCE_ORDER else len(REFERENCE_ORDER)


def _paired(frame: pl.DataFrame, against: str, environment: str, metric: str) -> Ratio | NotEstimable:
    def arm(name: str, column: str) -> pl.DataFrame:
        return frame.filter(pl.col("environment") == name).select("block", pl.col(metric).alias(column)).drop_nulls()

    pairs = arm(against, "a").join(arm(environment, "b"), on="block", how="inner").sort("block")
    return paired_ratio(pairs["a"].to_list(), pairs["b"].to_list())


def shown_metrics(primary: Sequence[str]) -> list[str]:
    """The primary metrics of an experiment, then what every reader asks for."""
    return list(dict.fromkeys((*primary, *ALWAYS_SHOWN)))


def as_document(found: Sequence[Cell], compared: Sequence[Row]) -> dict[str, Any]:
    """Cells and comparisons as plain values for JSON; nothing is NaN."""
    return {
        "environments": [
            {"model": c.model, "environment": c.environment, "metric": c.metric, **asdict(c.values)} for c in found
        ],
        "comparisons": [_comparison_document(row) for row in compared],
    }


_DOCUMENT = (
    *("model", "environment", "against", "metric", "better", "n", "ratio", "excludes_one", "not_estimable"),
    *("verdict", "margin", "pairs_needed", "sentence"),
)


def _comparison_document(row: Row) -> dict[str, Any]:
    document = {name: row.get(name) for name in _DOCUMENT}
    estimated = row.get("ratio") is not None
    document["margin"] = row["margin"] if row.get("verdict") else None
    document["ci95"] = [row["low"], row["high"]] if estimated else None
    document["ci90"] = [row["low90"], row["high90"]] if estimated else None
    return document
