"""Cells that are missing or unequal, runs that failed, values that are missing in part."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for a missing cell, a note for unequal ones, for failures and for metrics that some runs lack."""
    sizes = {(cell.model, cell.environment): len(cell.frame) for cell in case.cells}
    models, arms = (list(dict.fromkeys(key[i] for key in sizes)) for i in (0, 1))
    if len(arms) < 2:  # noqa: PLR2004 - a comparison
        yield NotJudged("arms", f"only one environment, {arms[0]}: nothing about the comparison of arms can be judged")
    missing = [f"{model} {arm}" for model in models for arm in arms if (model, arm) not in sizes]
    if missing:
        yield Finding(
            "missing_cells",
            "grave",
            "some models were not measured in every environment: nothing can be said of the environment over models there",
            f"no runs for {', '.join(missing)}",
            labels(
                case.ok.filter(pl.col("model").is_in([m for m in models if any((m, a) not in sizes for a in arms)]))
            ),
        )
    yield from _unequal(case, sizes)
    yield from _failures(case)
    yield from _gaps(case)


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
