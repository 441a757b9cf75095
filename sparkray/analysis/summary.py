"""Summary of a sweep at its end: estimates and verdicts of the plan's ok runs, by the comparison of the analysis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from sparkray.analysis.arms import arms_between
from sparkray.analysis.compare import compared
from sparkray.analysis.context import Margin
from sparkray.analysis.frames import Cell, Frames
from sparkray.analysis.interim import Standing
from sparkray.stats.descriptive import describe

ALWAYS_SHOWN = ("output_throughput_tok_s", "latency_mean_ms", "ttft_mean_ms", "host_available_drop_peak_gib")
_DOCUMENT = (
    *("environment", "against", "metric", "better", "n", "ratio", "excludes_one", "not_estimable"),
    *("verdict", "verdict_reason", "assumptions", "margin", "pairs_needed"),
)
Row = dict[str, Any]


def cells(frames: Frames, metrics: Sequence[str]) -> list[Row]:
    """n, mean, sd and CV of each metric in each environment of each model and level."""
    return [
        {**cell.columns, "metric": metric, **asdict(describe(frames.runs_of(cell).of(metric).tolist()))}
        for cell in frames.cells
        for metric in metrics
    ]


def comparisons(
    frames: Frames,
    metrics: Sequence[str],
    margins: Mapping[str, float],
    standings: Iterable[Standing] = (),
    *,
    differences: Mapping[str, float] = MappingProxyType({}),
) -> list[Row]:
    """Every environment against the reference (native, else host): rows as in the table `comparisons`.

    Args:
        frames: The runs.
        metrics: Which metrics.
        margins: Relative margins by metric.
        standings: Interim analyses; where there is one, it gives the estimate and the verdict.
        differences: Margins of differences by metric, in its unit.
    """
    interim = {(Cell(one.model, one.level, one.environment), one.metric): one.interim for one in standings}
    return [
        compared(
            frames,
            arms_between(frames, cell, against, metric),
            Margin(margins.get(metric), differences.get(metric)),
            interim.get((cell, metric)),
        )[1]
        for cell in frames.cells
        if (against := frames.reference_of(cell)) is not None
        for metric in metrics
    ]


def cell_name(row: Mapping[str, Any]) -> str:
    """The model, with the level of the load where an experiment has more than one."""
    return f"{row['model']} {row['level'] or ''}".rstrip()


def shown_metrics(primary: Sequence[str]) -> list[str]:
    """The primary metrics of an experiment, then those that every summary shows."""
    return list(dict.fromkeys((*primary, *ALWAYS_SHOWN)))


def as_document(described: Sequence[Row], compared: Sequence[Row]) -> dict[str, Any]:
    """Cells and comparisons as plain values for JSON; nothing is NaN."""
    columns = ("environment", "metric", "n", "mean", "sd", "cv_pct")
    return {
        "environments": [{"model": cell_name(row), **{name: row[name] for name in columns}} for row in described],
        "comparisons": [_comparison_document(row) for row in compared],
    }


def _comparison_document(row: Row) -> dict[str, Any]:
    document = {"model": cell_name(row), **{name: row.get(name) for name in _DOCUMENT}}
    estimated = row.get("ratio") is not None
    document["margin"] = row["margin"] if row.get("verdict") else None
    document["ci95"] = [row["low"], row["high"]] if estimated else None
    document["ci90"] = [row["low90"], row["high90"]] if estimated else None
    if row.get("difference") is not None:
        document |= {name: row[name] for name in ("judged_by", "difference", "difference_margin")}
        document["difference_ci95"] = [row["difference_low"], row["difference_high"]]
        document["difference_ci90"] = [row["difference_low90"], row["difference_high90"]]
    return document
