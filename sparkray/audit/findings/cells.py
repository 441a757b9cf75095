"""Cells that are missing or unequal, runs that failed, values that are missing in part.

Cells are compared with the plan where the input has one; else with every model and environment that a row names, however
its run ended.
"""

from collections.abc import Iterable, Iterator

import polars as pl

from sparkray.audit.case import Case, labels, rows_of, status_counts
from sparkray.audit.finding import Finding, NotJudged
from sparkray.records import WARMUP

# Sampled seconds apart, since reading it is expensive: shorter runs end before.
_SAMPLED_RARELY = ("process_pss_peak_gib",)


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for a missing cell, a note for unequal ones, for failures and for metrics that some runs lack."""
    sizes = {(cell.model, cell.environment): len(cell.frame) for cell in case.cells}
    measured = {arm for _, arm in sizes}
    if len(measured) < 2:  # noqa: PLR2004 - a comparison
        yield NotJudged("arms/one", {"environment": next(iter(measured))})
    yield from _missing(case, sizes)
    yield from _unequal(case)
    yield from _failures(case)
    yield from _gaps(case)


def _missing(case: Case, sizes: Iterable[tuple[str, str]]) -> Iterator[Finding | NotJudged]:
    """Cells without a run that counts, and models without one in any arm.

    No finding for models that were refused before their start in every arm: no run was lost, and the arms are alike.
    """
    named = case.results.frame.drop_nulls(["model", "environment"]).select("model", "environment").unique()
    cells = [*(case.results.planned or sorted(named.iter_rows())), *sizes]
    models, arms = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    absent = [model for model in models if not any((model, arm) in sizes for arm in arms)]
    holes = [(model, arm) for model in models for arm in arms if model not in absent and (model, arm) not in sizes]
    if holes:
        rows = labels(case.ok.filter(pl.col("model").is_in([model for model, _ in holes])))
        yield Finding("missing_cells", {"cells": [" ".join(hole) for hole in holes]}, "grave", rows)
    if absent:
        refused = set(_refused(case)["model"])
        if refused:
            yield NotJudged("missing_cells/refused", {"models": sorted(refused)})
        if lost := [model for model in absent if model not in refused]:
            tried = case.results.frame.filter(pl.col("model").is_in(lost))
            values = {"models": lost, "statuses": status_counts(tried)}
            yield Finding("missing_cells/models", values, "grave", labels(tried))


def _refused(case: Case) -> pl.DataFrame:
    """Rows of models of which every attempt, in every arm, was refused before it started."""
    frame = case.results.frame
    arms = frame["environment"].drop_nulls().n_unique()
    by_model = frame.group_by("model").agg(
        refused=(pl.col("status") == "unready").all(), arms=pl.col("environment").n_unique()
    )
    names = by_model.filter(pl.col("refused") & (pl.col("arms") == arms))["model"].drop_nulls()
    return frame.filter(pl.col("model").is_in(names.to_list()))


def _unequal(case: Case) -> Iterator[Finding]:
    """Cells of an occasion that differ in size; another occasion may be longer."""
    by_occasion: dict[int | None, list[int]] = {}
    for cell in case.series:
        by_occasion.setdefault(cell.occasion, []).append(len(cell.frame))
    usual = {occasion: sorted(counts)[len(counts) // 2] for occasion, counts in by_occasion.items()}
    odd = [cell for cell in case.series if len(cell.frame) != usual[cell.occasion]]
    if odd:
        items = [{"cell": cell.name_in_series, "count": len(cell.frame)} for cell in odd]
        values = {"usual": sorted({usual[cell.occasion] for cell in odd}), "items": items}
        yield Finding("unequal_cells", values, "note", rows_of(odd))


def _failures(case: Case) -> Iterator[Finding]:
    refused = _refused(case)["row"].to_list()
    failed = case.results.frame.filter(~pl.col("status").is_in(["ok", WARMUP]) & ~pl.col("row").is_in(refused))
    if len(failed):
        counts = failed.group_by("environment", "status").agg(count=pl.len()).sort("environment", "status")
        yield Finding("failed_runs", {"items": counts.to_dicts()}, "note", labels(failed))


def _gaps(case: Case) -> Iterator[Finding | NotJudged]:
    """Some runs of a cell lack a metric; columns that the same rows lack are one finding.

    A cell without any value does not have the metric (a cgroup outside Docker, a speed of decoding in a test of prefill):
    an arm without any is reported, and neither is judged.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for metric in (name for name in case.metrics if case.ok[name].null_count()):
        there = case.ok.with_columns(known=pl.col(metric).count().over("model", "environment"))
        if bare := _bare_arms(case, metric):
            yield NotJudged("arms/no_values", {"metric": metric, "environments": bare})
        lacking = labels(there.filter(pl.col(metric).is_null() & (pl.col("known") > 0)))
        if lacking and case.results.own and metric in _SAMPLED_RARELY:
            yield NotJudged("missing_values/rarely", {"metric": metric, "lacking": len(lacking), "total": len(case.ok)})
        elif lacking:
            alike.setdefault(lacking, []).append(metric)
    for rows, metrics in alike.items():
        frame = case.ok.filter(pl.col("row").is_in(list(rows)))
        if (
            len(rows) == 1 and case.results.own and case.results.primary not in metrics
        ):  # a sampler that missed a short run
            yield NotJudged("missing_values/one", {"metric": ", ".join(metrics)})
            continue
        items = frame.group_by("environment").agg(count=pl.len()).sort("environment").to_dicts()
        values = {"metrics": metrics, "lacking": len(rows), "total": len(case.ok), "items": items}
        yield Finding("missing_values", values, "note", rows)


def _bare_arms(case: Case, metric: str) -> list[str]:
    """Arms that have no value of a metric."""
    per_arm = case.ok.group_by("environment").agg(known=pl.col(metric).count())
    return list(per_arm.filter(pl.col("known") == 0)["environment"].sort())
