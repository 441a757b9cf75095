"""Frames in, estimates and verdicts out: what a sweep prints at its end.

Only runs with status ok count; comparisons are made inside blocks, between runs of the same model. When a run was
attempted more than once, the one that is ok stands for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sparkray.analysis.frames import REFERENCE_ORDER
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.descriptive import Description, describe
from sparkray.stats.paired import Decision, Ratio, decide, outlook, paired_ratio

ALWAYS_SHOWN = ("output_throughput_tok_s", "latency_mean_ms", "ttft_mean_ms", "host_available_drop_peak_gib")


@dataclass(frozen=True)
class Cell:
    """One metric of one model in one environment."""

    model: str
    environment: str
    metric: str
    values: Description


@dataclass(frozen=True)
class Comparison:
    """One metric of one environment against the reference, inside blocks."""

    model: str
    environment: str
    against: str
    metric: str
    result: Ratio | NotEstimable
    decision: Decision | None


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


def comparisons(frame: pl.DataFrame, metrics: Sequence[str], margins: Mapping[str, float]) -> list[Comparison]:
    """Every environment against the reference (native, else host), paired by block."""
    found: list[Comparison] = []
    for model in frame["model"].unique(maintain_order=True).to_list():
        of_model = frame.filter(pl.col("model") == model)
        environments = sorted(of_model["environment"].unique().to_list(), key=_rank)
        for environment in environments[1:]:
            for metric in metrics:
                result = _paired(of_model, environments[0], environment, metric)
                margin = margins.get(metric)
                decided = decide(result, margin) if isinstance(result, Ratio) and margin is not None else None
                found.append(Comparison(model, environment, environments[0], metric, result, decided))
    return found


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


def sentence(comparison: Comparison) -> str:
    """What a comparison says, in a sentence that claims no equality which was not shown."""
    result, decision = comparison.result, comparison.decision
    what = f"{comparison.model}, {comparison.metric}: {comparison.environment} against {comparison.against}"
    if isinstance(result, NotEstimable):
        return f"{what}: not estimable, {result.reason}."
    low, high = result.ci95
    text = f"{what} is a ratio of {result.ratio:.4f} (95 % CI {low:.4f} to {high:.4f}, {result.n} pairs)"
    if decision is None:
        return f"{text}."
    margin = f"{decision.margin:.1%}"
    if decision.verdict == "equivalent":
        real = ", though the difference is real" if result.excludes_one else ""
        return f"{text}: equivalent within {margin}{real}."
    if decision.verdict == "different":
        return f"{text}: different by more than {margin}."
    seen = (
        "a difference is shown, its size against the margin is not"
        if result.excludes_one
        else ("no difference is shown, and no equality either")
    )
    return f"{text}: undecided at {margin}; {seen}; {outlook(decision.pairs_needed, result.n)}."


def as_document(found: Sequence[Cell], compared: Sequence[Comparison]) -> dict[str, Any]:
    """Cells and comparisons as plain values for JSON; nothing is NaN."""
    return {
        "environments": [
            {"model": c.model, "environment": c.environment, "metric": c.metric, **asdict(c.values)} for c in found
        ],
        "comparisons": [_comparison_document(c) for c in compared],
    }


def _comparison_document(comparison: Comparison) -> dict[str, Any]:
    result, decision = comparison.result, comparison.decision
    document: dict[str, Any] = {
        "model": comparison.model,
        "environment": comparison.environment,
        "against": comparison.against,
        "metric": comparison.metric,
        "better": BY_NAME[comparison.metric].better,
        "n": None,
        "ratio": None,
        "ci95": None,
        "ci90": None,
        "excludes_one": None,
        "not_estimable": None,
        "verdict": None,
        "margin": None,
        "pairs_needed": None,
        "sentence": sentence(comparison),
    }
    if isinstance(result, NotEstimable):
        return {**document, "not_estimable": result.reason}
    document.update(
        n=result.n, ratio=result.ratio, ci95=list(result.ci95), ci90=list(result.ci90), excludes_one=result.excludes_one
    )
    if decision is not None:
        document.update(verdict=decision.verdict, margin=decision.margin, pairs_needed=decision.pairs_needed)
    return document
