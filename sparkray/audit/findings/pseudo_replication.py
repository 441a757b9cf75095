"""Requests, or runs of one stretch, counted as if each were independent."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels, stretches
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.roles import candidates

_LEAST_RUNS = 3


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for rows that are requests of one run, for arms of one stretch, and for claims that count more than runs."""
    yield from _requests(case)
    yield from _one_stretch(case)
    yield from _claimed(case)


def _requests(case: Case) -> Iterator[Finding | NotJudged]:
    run = ["model", "environment", "iteration"]
    several = case.ok.drop_nulls("iteration").filter(pl.len().over(run) > 1)
    keys = several.select(*run, "started_s").n_unique() if len(several) else 0
    if len(several) and (several["started_s"].null_count() == len(several) or keys < len(several)):
        factors = list(candidates(case.results))
        if factors:
            yield NotJudged("pseudo_replication/factor", {"columns": factors, "column": factors[0]})
            return
        values = {"rows": len(several), "runs": several.select(run).n_unique()}
        yield Finding("pseudo_replication/requests", values, "grave", labels(several))


def _one_stretch(case: Case) -> Iterator[Finding]:
    items = []
    rows: list[str] = []
    for model, frame in case.sequences:
        ordered, arms = case.orders[model], frame["environment"].n_unique()
        fewest = min(frame["environment"].value_counts()["count"])
        if ordered is None or arms == 1 or fewest < _LEAST_RUNS:
            continue
        if stretches(ordered[0]["environment"].to_list()) == arms:
            items.append({"model": model, "runs": len(frame), "arms": arms})
            rows += labels(frame)
    if items:
        yield Finding("pseudo_replication/stretch", {"items": items}, "grave", tuple(rows))


def _claimed(case: Case) -> Iterator[Finding | NotJudged]:
    if case.results.claims is None:
        yield NotJudged("pseudo_replication/unknown")
        return
    most = max((len(group) for _, group in case.ok.group_by("environment")), default=0)
    for claim in case.results.claims:
        if claim.n is not None and claim.n > most:
            values = {"claim": repr(claim.text), "n": claim.n, "most": most}
            yield Finding("pseudo_replication/claim", values, "grave")
