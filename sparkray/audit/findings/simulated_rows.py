"""Rows of a simulated engine: they measure nothing."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal beside measured rows; grave when all are simulated, since such a dataset is a rehearsal and may say so."""
    told = case.ok["simulated"]
    if told.null_count() == len(told):
        yield NotJudged("simulated_rows", "no column says whether rows were simulated")
        return
    made = case.ok.filter(pl.col("simulated"))
    if made.is_empty():
        return
    mixed = len(made) < len(case.ok)
    yield Finding(
        "simulated_rows",
        "fatal" if mixed else "grave",
        "rows of a simulated engine stand among measured ones: no comparison over both means anything"
        if mixed
        else "every row is from a simulated engine: this is a rehearsal, not a result",
        f"{len(made)} of {len(case.ok)} rows are marked as simulated",
        labels(made),
    )
