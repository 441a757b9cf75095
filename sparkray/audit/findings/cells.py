"""Cells that are missing or unequal, runs that failed, values that are missing in part.

Cells are compared with the plan where the input has one; else with every model and environment that a row names, however
its run ended.
"""

from collections.abc import Iterable, Iterator

import polars as pl

from sparkray.audit.case import Case, labels, status_counts
from sparkray.audit.finding import Finding, NotJudged
from sparkray.records import WARMUP


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for a missing cell, a note for unequal ones, for failures and for metrics that some runs lack."""
    sizes = {(cell.model, cell.environment): len(cell.frame) for cell in case.cells}
    measured = {arm for _, arm in sizes}
    if len(measured) < 2:  # noqa: PLR2004 - a comparison
        yield NotJudged("arms/one", {"environment": next(iter(measured))})
    yield from _missing(case, sizes)
    yield from _unequal(case, sizes)
    yield from _failures(case)
    yield from _gaps(case)


def _missing(case: Case, sizes: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Cells without a run that counts, and models without one in any arm.

    The latter are a note where each was refused before its start, since no run was lost then.
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
        tried = case.results.frame.filter(pl.col("model").is_in(absent))
        refused = len(tried) > 0 and tried["model"].n_unique() == len(absent) and set(tried["status"]) == {"unready"}
        values = {"models": absent, "statuses": status_counts(tried)}
        yield Finding("missing_cells/models", values, "note" if refused else "grave", labels(tried))


def _unequal(case: Case, sizes: dict[tuple[str, str], int]) -> Iterator[Finding]:
    if len(set(sizes.values())) > 1:
        usual = sorted(sizes.values())[len(sizes) // 2]
        odd = {" ".join(key): size for key, size in sizes.items() if size != usual}
        rows = labels(case.ok.filter(pl.concat_str("model", "environment", separator=" ").is_in(list(odd))))
        items = [{"cell": cell, "count": size} for cell, size in odd.items()]
        yield Finding("unequal_cells", {"usual": usual, "items": items}, "note", rows)


def _failures(case: Case) -> Iterator[Finding]:
    failed = case.results.frame.filter(~pl.col("status").is_in(["ok", WARMUP]))
    if len(failed):
        counts = failed.group_by("environment", "status").agg(count=pl.len()).sort("environment", "status")
        yield Finding("failed_runs", {"items": counts.to_dicts()}, "note", labels(failed))


def _gaps(case: Case) -> Iterator[Finding | NotJudged]:
    """Some runs of a cell lack a metric; columns that the same rows lack are one finding.

    A cell without any value does not have the metric (a cgroup outside Docker, a speed of decoding in a test of prefill):
    an arm without any is reported, and neither is judged.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for metric in case.metrics:
        there = case.ok.with_columns(known=pl.col(metric).count().over("model", "environment"))
        if bare := _bare_arms(case, metric):
            yield NotJudged("arms/no_values", {"metric": metric, "environments": bare})
        if lacking := labels(there.filter(pl.col(metric).is_null() & (pl.col("known") > 0))):
            alike.setdefault(lacking, []).append(metric)
    for rows, metrics in alike.items():
        frame = case.ok.filter(pl.col("row").is_in(list(rows)))
        items = frame.group_by("environment").agg(count=pl.len()).sort("environment").to_dicts()
        values = {"metrics": metrics, "lacking": len(rows), "total": len(case.ok), "items": items}
        yield Finding("missing_values", values, "note", rows)


def _bare_arms(case: Case, metric: str) -> list[str]:
    """Arms that have no value of a metric."""
    per_arm = case.ok.group_by("environment").agg(known=pl.col(metric).count())
    return list(per_arm.filter(pl.col("known") == 0)["environment"].sort())
