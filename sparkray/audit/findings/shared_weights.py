"""Several models from one set of weights, one model from several, and rows filed under another name than they give."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, labels
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal where two names share a path, an id or a hash of weights, or one name has several; grave for misfiled rows.

    Several paths are no finding: one set of weights may be stored in several places.
    """
    identities = ("model_sha256", "model_path", "model_id")
    if all(case.ok[column].null_count() == len(case.ok) for column in identities):
        yield NotJudged("shared_weights/unknown")
    for column in identities:
        for (identity,), group in case.ok.drop_nulls(column).group_by(column, maintain_order=True):
            models = sorted(set(group["model_name"].to_list()))
            if len(models) > 1:
                values = {"models": models, "column": column, "identity": identity}
                yield Finding("shared_weights", values, "fatal", labels(group))
    for column in ("model_sha256", "model_id"):
        yield from _several(case.ok.drop_nulls(column), column)
    yield from _misfiled(case.ok)


def _several(frame: pl.DataFrame, column: str) -> Iterator[Finding]:
    for (model,), group in frame.group_by("model_name", maintain_order=True):
        identity = pl.col(column).str.to_lowercase().alias("identity")
        counts = group.group_by(identity, "environment", maintain_order=True).agg(count=pl.len())
        if counts["identity"].n_unique() > 1:
            values = {"model": model, "column": column, "items": counts.to_dicts()}
            yield Finding("shared_weights/several", values, "fatal", labels(group))


def _misfiled(frame: pl.DataFrame) -> Iterator[Finding]:
    stated, name = pl.col("stated_model").str.to_lowercase(), pl.col("model_name").str.to_lowercase()
    wrong = frame.drop_nulls("stated_model").filter(
        ~stated.str.contains(name, literal=True) & ~name.str.contains(stated, literal=True)
    )
    if len(wrong):
        values = {"count": len(wrong), "row": wrong["row"][0], "model": wrong["model_name"][0]}
        yield Finding("misfiled_rows", values | {"stated": wrong["stated_model"][0]}, "grave", labels(wrong))
