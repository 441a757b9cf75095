"""Requests that a run asked for and that never came back, and loads that its requests could not make."""

import re
from collections.abc import Iterator
from typing import Any

import polars as pl
import scipy

from sparkray.audit.case import Case, labels, reference_first
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.audit.names import plain

_MANY, _CLEAR = 0.05, 0.01
_ROUNDED = 1e-9
_SHARE = re.compile(
    r"^(requests?_)?((?P<good>success(ful)?|(?P<speed>completion|completed|ok))|fail(ure|ed)?|errors?|loss|drop(ped)?|timeouts?)"
    r"_(requests?_)?(rate|share|ratio|pct|percent(age)?)(_(pct|percent))?$"
)
# A `completion_rate` may be a speed; shares of requests that came back reach this part of the whole in some run.
_TOP = 0.95
_ASKED, _DONE, _FAILED = "requests_asked", "requests_completed", "requests_failed"


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where 5 % of an arm's requests are lost, or the arms lost clearly different shares (Fisher, 1 %); else a note.

    A speed over the requests that came back is one over a selection. A load above the number of requests is a note: so many
    were never in flight, and several such levels are one.
    """
    frame = case.results.frame.drop_nulls(["model", "environment"])
    counted = frame.with_columns(lost=_lost(), asked=_asked()).drop_nulls(["lost", "asked"])
    if counted.is_empty() and (found := list(_without_counts(case, frame))):
        yield from found
    elif counted.is_empty():
        yield NotJudged("lost_requests/unknown")
    elif (lossy := counted.filter(pl.col("lost") > 0)).height:
        yield _finding(counted, lossy)
    yield from _beyond(case)


def _without_counts(case: Case, frame: pl.DataFrame) -> Iterator[Finding | NotJudged]:
    """What shares of requests that came back, or counts of failures alone, show."""
    failed = frame.filter(pl.col(_FAILED) > 0)
    if failed.height:
        arms = failed.group_by("environment").agg(pl.col(_FAILED).sum(), runs=pl.len()).sort("environment").to_dicts()
        yield Finding("lost_requests/failed", {"items": arms}, "grave", labels(failed))
    elif frame[_FAILED].count():
        yield NotJudged("lost_requests/asked")
    for name in case.results.others:
        match = _SHARE.search(plain(name.replace("%", " pct"))) if frame.schema[name] == pl.Float64 else None
        if match is None:
            continue
        whole = _whole(match, frame[name].drop_nulls())
        if whole is None:
            yield NotJudged("lost_requests/rate", {"column": name})
            continue
        lost = frame.with_columns(lost=(whole - pl.col(name) if match["good"] else pl.col(name)) / whole)
        lossy = lost.filter(pl.col("lost") > 0)
        if lossy.is_empty():
            yield NotJudged("lost_requests/asked")
        else:
            shares = (
                lossy.group_by("environment").agg(share=pl.col("lost").max() * 100, runs=pl.len()).sort("environment")
            )
            many = lossy["lost"].max()
            gravity: Gravity = "grave" if isinstance(many, float) and many >= _MANY - _ROUNDED else "note"
            yield Finding("lost_requests/share", {"column": name, "items": shares.to_dicts()}, gravity, labels(lossy))


def _whole(match: re.Match[str], values: pl.Series) -> float | None:
    """What all requests are in a column of shares: 1, or 100 for per cents; None where its values need not be shares."""
    is_per_cent = re.search("pct|percent", match[0]) is not None
    whole = 100.0 if is_per_cent or (values > 1).any() else 1.0
    top = values.max() if len(values) else None
    if not isinstance(top, float) or top > whole or (values < 0).any():
        return None
    return None if match["speed"] and not is_per_cent and top < _TOP * whole else whole


def _lost() -> pl.Expr:
    return pl.coalesce(pl.col(_ASKED) - pl.col(_DONE), pl.col(_FAILED)).clip(lower_bound=0)


def _asked() -> pl.Expr:
    return pl.coalesce(pl.col(_ASKED), pl.col(_DONE) + pl.col(_FAILED))


def _finding(counted: pl.DataFrame, lossy: pl.DataFrame) -> Finding:
    sums = counted.group_by("environment").agg(pl.col("lost", "asked").sum(), runs=(pl.col("lost") > 0).sum())
    arms = {row["environment"]: row for row in sums.to_dicts()}
    items: list[dict[str, Any]] = [arms[arm] for arm in reference_first(list(arms))]
    tables = [[item["lost"], item["asked"] - item["lost"]] for item in items if item["asked"] > 0]
    p = 1.0
    if len(tables) == 2:  # noqa: PLR2004 - two arms
        p = float(scipy.stats.fisher_exact(tables).pvalue)
    elif len(tables) > 2 and any(row[1] for row in tables):  # noqa: PLR2004
        p = float(scipy.stats.chi2_contingency(tables).pvalue)
    many = (lossy["lost"] / lossy["asked"]).max()
    grave = p < _CLEAR or (isinstance(many, float) and many >= _MANY)
    return Finding(
        "lost_requests", {"items": items, "p": p, "differ": p < _CLEAR}, "grave" if grave else "note", labels(lossy)
    )


def _beyond(case: Case) -> Iterator[Finding]:
    """Levels of the load above the requests of a run."""
    frame = case.ok.filter(pl.col("batch") > pl.col(_ASKED))
    if frame.height:
        levels = [str(batch) for batch in frame["batch"].unique().sort().to_list()]
        values = {"levels": levels, "requests": max(frame[_ASKED].to_list())}
        yield Finding("lost_requests/beyond", values, "note", labels(frame))
