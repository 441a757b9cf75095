"""Cells that are missing or unequal, runs that failed, values that are missing in part.

What is missing is held against the plan where the input carries one; else against every model and environment that a row
names, however its run ended.
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for a missing cell, a note for unequal ones, for failures and for metrics that some runs lack."""
    sizes = {(cell.model, cell.environment): len(cell.frame) for cell in case.cells}
    told = list(dict.fromkeys(arm for _, arm in sizes))
    if len(told) < 2:  # noqa: PLR2004 - a comparison
        yield NotJudged("arms", f"only one environment, {told[0]}: nothing about the comparison of arms can be judged")
    models, arms = _meant(case, sizes)
    absent = [model for model in models if not any((model, arm) in sizes for arm in arms)]
    holes = [(model, arm) for model in models for arm in arms if model not in absent and (model, arm) not in sizes]
    yield from _holes(case, holes)
    yield from _absent(case, absent)
    yield from _unequal(case, sizes)
    yield from _failures(case)
    yield from _gaps(case)


def _meant(case: Case, sizes: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Models and environments that were meant to be measured, each with each."""
    named = case.results.frame.drop_nulls(["model", "environment"]).select("model", "environment").unique()
    cells = [*(case.results.planned or sorted(named.iter_rows())), *sizes]
    return list(dict.fromkeys(model for model, _ in cells)), list(dict.fromkeys(arm for _, arm in cells))


def _holes(case: Case, holes: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    if holes:
        yield Finding(
            "missing_cells",
            "grave",
            "some models were not measured in every environment: nothing can be said of the environment over models there",
            f"no runs that count for {', '.join(map(' '.join, holes))}",
            labels(case.ok.filter(pl.col("model").is_in([model for model, _ in holes]))),
        )


def _absent(case: Case, models: Sequence[str]) -> Iterator[Finding]:
    """Models without a run that counts: a note where each was refused before its start, since none was lost then."""
    if not models:
        return
    tried = case.results.frame.filter(pl.col("model").is_in(models))
    statuses = tried["status"].value_counts().sort("status").iter_rows()
    told = ", ".join(f"{count} {status}" for status, count in statuses) or "no rows at all"
    refused = len(tried) > 0 and tried["model"].n_unique() == len(models) and set(tried["status"]) == {"unready"}
    yield Finding(
        "missing_cells",
        "note" if refused else "grave",
        "some models that were meant to be measured have no run that counts in any environment: what is said over models is "
        "said of a selection",
        f"nothing of {', '.join(models)} ({told})",
        labels(tried),
    )


def _unequal(case: Case, sizes: dict[tuple[str, str], int]) -> Iterator[Finding]:
    if len(set(sizes.values())) > 1:
        usual = sorted(sizes.values())[len(sizes) // 2]
        odd = {" ".join(key): size for key, size in sizes.items() if size != usual}
        named = pl.concat_str("model", "environment", separator=" ")
        yield Finding(
            "unequal_cells",
            "note",
            "cells have different numbers of runs: some were repeated or dropped, and the study should say why",
            f"{usual} runs are usual; " + ", ".join(f"{name} has {size}" for name, size in odd.items()),
            labels(case.ok.filter(named.is_in(list(odd)))),
        )


def _failures(case: Case) -> Iterator[Finding]:
    failed = case.results.frame.filter(pl.col("status") != "ok")
    if failed.is_empty():
        return
    counts = failed.group_by("environment", "status").len().sort("environment", "status")
    told = ", ".join(
        f"{count} {status} in {environment or 'no environment'}" for environment, status, count in counts.iter_rows()
    )
    yield Finding(
        "failed_runs",
        "note",
        "some runs did not end well: if failures depend on the arm, those that remain are a selection",
        told,
        labels(failed),
    )


def _gaps(case: Case) -> Iterator[Finding | NotJudged]:
    """An arm that lacks a metric altogether does not have it (a cgroup outside Docker): that is open, no selection."""
    for metric in case.metrics:
        per_arm = case.ok.group_by("environment").agg(lacking=pl.col(metric).null_count(), runs=pl.len())
        bare = per_arm.filter(pl.col("lacking") == pl.col("runs"))["environment"].sort().to_list()
        if bare:
            yield NotJudged("arms", f"{metric}: no values in {', '.join(bare)}")
        lacking = case.ok.filter(pl.col(metric).is_null() & ~pl.col("environment").is_in(bare))
        if len(lacking):
            arms = lacking.group_by("environment").len().sort("environment").iter_rows()
            yield Finding(
                "missing_values",
                "note",
                f"{metric} is missing in some runs: a mean over the rest is a mean over a selection",
                f"{len(lacking)} of {len(case.ok)} rows lack it ({', '.join(f'{count} of {arm}' for arm, count in arms)})",
                labels(lacking),
            )
