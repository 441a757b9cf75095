"""Rows of a simulated engine: they measure nothing."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal beside measured rows; grave when all are simulated, unless in a dataset of sparkray's, which claims no more."""
    if case.ok["simulated"].null_count() == len(case.ok):
        yield NotJudged("simulated_rows/unknown")
        return
    simulated = case.ok.filter(pl.col("simulated"))
    values = {"count": len(simulated), "total": len(case.ok)}
    if 0 < len(simulated) < len(case.ok):
        yield Finding("simulated_rows/mixed", values, "fatal", labels(simulated))
    elif len(simulated) and case.results.own:
        yield NotJudged("simulated_rows/all")
    elif len(simulated):
        yield Finding("simulated_rows", values, "grave", labels(simulated))
