"""Several models from one set of weights, one model from several, and rows filed under another name than they give."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal where two names share a path, an id or a hash of weights, or one name has several; grave for misfiled rows.

    Several paths are none: one set of weights may lie in several places.
    """
    identities = ("model_sha256", "model_path", "model_id")
    if all(case.ok[column].null_count() == len(case.ok) for column in identities):
        yield NotJudged("shared_weights", "no path, id or hash tells which weights were loaded")
    for column in identities:
        for (identity,), group in case.ok.drop_nulls(column).group_by(column, maintain_order=True):
            names = sorted(set(group["model_name"].to_list()))
            if len(names) > 1:
                yield Finding(
                    "shared_weights",
                    "fatal",
                    f"{', '.join(names)} are different names for one set of weights: comparisons of models compare nothing",
                    f"all have {column} {identity}",
                    labels(group),
                )
    for column in ("model_sha256", "model_id"):
        yield from _several(case.ok.drop_nulls(column), column)
    yield from _misfiled(case.ok)


def _several(frame: pl.DataFrame, column: str) -> Iterator[Finding]:
    for (name,), group in frame.group_by("model_name", maintain_order=True):
        counts = group.group_by(pl.col(column).str.to_lowercase(), "environment", maintain_order=True).len()
        if counts[column].n_unique() > 1:
            told = ", ".join(f"{identity} in {count} {arm}" for identity, arm, count in counts.iter_rows())
            yield Finding(
                "shared_weights",
                "fatal",
                f"{name} is one name for several sets of weights: what is compared under it is not one model",
                f"{column} {told}",
                labels(group),
            )


def _misfiled(frame: pl.DataFrame) -> Iterator[Finding]:
    said, name = pl.col("said_model").str.to_lowercase(), pl.col("model_name").str.to_lowercase()
    wrong = frame.drop_nulls("said_model").filter(
        ~said.str.contains(name, literal=True) & ~name.str.contains(said, literal=True)
    )
    if len(wrong):
        yield Finding(
            "misfiled_rows",
            "grave",
            "rows stand under one model and name another: which model ran is open",
            f"{len(wrong)} rows, for instance {wrong['row'][0]} under {wrong['model_name'][0]} "
            f"names {wrong['said_model'][0]}",
            labels(wrong),
        )
