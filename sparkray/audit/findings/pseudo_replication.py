"""Requests, or runs of one stretch, counted as if each were independent."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, across_arms, labels, stretches
from sparkray.audit.finding import Finding, NotJudged

_LEAST_RUNS = 3


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for rows that are requests of one run, for arms of one stretch, and for claims that count more than runs."""
    yield from _requests(case)
    yield from _one_stretch(case)
    yield from _claimed(case)


def _requests(case: Case) -> Iterator[Finding]:
    run = ["model", "environment", "iteration"]
    several = case.ok.drop_nulls("iteration").filter(pl.len().over(run) > 1)
    keys = several.select(*run, "started_s").n_unique() if len(several) else 0
    if len(several) and (several["started_s"].null_count() == len(several) or keys < len(several)):
        yield Finding(
            "pseudo_replication",
            "grave",
            "several rows stand for one run: requests of a run are no replicates, and no test may count them so",
            f"{len(several)} rows share {several.select(run).n_unique()} combinations of model, environment and iteration",
            labels(several),
        )


def _one_stretch(case: Case) -> Iterator[Finding]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for model, frame in case.by_model():
        told = across_arms(frame)
        arms = frame["environment"].n_unique()
        if told is None or arms == 1 or frame.group_by("environment").len()["len"].min() < _LEAST_RUNS:  # type: ignore[operator]
            continue
        if stretches(told[0]["environment"].to_list()) == arms:
            found.append((f"{model}: {len(frame)} runs in {arms} stretches, one an arm", labels(frame)))
    if found:
        yield Finding(
            "pseudo_replication",
            "grave",
            "all runs of an arm are from one stretch of time: they repeat the run and not the comparison, whose sample "
            "size is one a model, whatever the number of runs",
            "; ".join(text for text, _ in found),
            tuple(row for _, rows in found for row in rows),
        )


def _claimed(case: Case) -> Iterator[Finding | NotJudged]:
    if case.results.claims is None:
        yield NotJudged("pseudo_replication", "the input does not say what the study counted as its sample size")
        return
    most = max((len(group) for _, group in case.ok.group_by("environment")), default=0)
    for claim in case.results.claims:
        if claim.n is not None and claim.n > most:
            yield Finding(
                "pseudo_replication",
                "grave",
                "a claim counts more than there are runs: requests inside a run are no replicates",
                f"{claim.said!r} counts n = {claim.n} in each arm, and no arm has more than {most} runs",
            )
