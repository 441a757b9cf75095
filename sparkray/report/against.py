"""Two studies side by side: what changed between them, in the language of the verdicts.

Two things are asked of each model, level, environment and metric that both have: whether the *overhead* changed (the ratio
of the two paired ratios), and whether the *arm* itself did (the ratio of the two geometric means: a driver that makes both
arms faster leaves the overhead alone). Studies share no blocks, so both are unpaired (`stats.between`).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.report.labels import arm, cell, metric_name
from sparkray.stats import NotEstimable
from sparkray.stats.between import Between, LogSample, between, decide_between, log_sample
from sparkray.stats.paired import Decision

OVERHEAD, ARM = "overhead", "arm"
_SCHEMA = {
    "trace": pl.String(),
    "kind": pl.String(),
    "model": pl.String(),
    "level": pl.String(),
    "environment": pl.String(),
    "metric": pl.String(),
    "there": pl.Float64(),
    "here": pl.Float64(),
    "n_there": pl.Int64(),
    "n_here": pl.Int64(),
    "ratio": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "low90": pl.Float64(),
    "high90": pl.Float64(),
    "df": pl.Float64(),
    "excludes_one": pl.Boolean(),
    "margin": pl.Float64(),
    "verdict": pl.String(),
    "pairs_needed": pl.Int64(),
    "not_estimable": pl.String(),
    "sentence": pl.String(),
    "source": pl.String(),
}
Row = dict[str, Any]
Key = tuple[str, str, str, str]


def differences(here: Analysis, there: Analysis) -> pl.DataFrame:
    """One row for each overhead and each arm that both studies have, this study over the other.

    Args:
        here: The study that the report is about.
        there: The one that it is held against (before an update, another machine).
    """
    metrics = [name for name in here.context["primary_metrics"] if name in there.tables["runs"].columns]
    rows = [*_overheads(here, there, metrics), *_arms(here, there, metrics)]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _overheads(here: Analysis, there: Analysis, metrics: list[str]) -> Iterator[Row]:
    found = [
        {
            (row["model"], row["level"], row["environment"], row["metric"]): row
            for row in side.tables["comparisons"].iter_rows(named=True)
            if row["metric"] in metrics and row["ratio"] is not None
        }
        for side in (there, here)
    ]
    for key in found[1]:
        if key in found[0] and found[0][key]["against"] == found[1][key]["against"]:
            a, b = (LogSample(math.log(side[key]["ratio"]), side[key]["sd_log"], side[key]["n"]) for side in found)
            yield _row(OVERHEAD, key, (a, b), here.context)


def _arms(here: Analysis, there: Analysis, metrics: list[str]) -> Iterator[Row]:
    for metric in metrics:
        sides = [_samples(side.tables["runs"], metric) for side in (there, here)]
        for key in sides[1]:
            if key in sides[0]:
                yield _row(ARM, key, (sides[0][key], sides[1][key]), here.context)


def _samples(runs: pl.DataFrame, metric: str) -> dict[Key, LogSample]:
    """Logarithms of a metric by cell; a cell without two values above 0 is left out."""
    found: dict[Key, LogSample] = {}
    for (model, level, environment), group in runs.group_by("model", "level", "environment", maintain_order=True):
        logs = log_sample(group[metric].drop_nulls().to_numpy())
        if isinstance(logs, LogSample):
            found[str(model), str(level), str(environment), metric] = logs
    return found


def _row(kind: str, key: Key, sides: tuple[LogSample, LogSample], context: Mapping[str, Any]) -> Row:
    model, level, environment, metric = key
    a, b = sides
    margin = context["margins"].get(metric)
    found = between(a, b)
    decision = decide_between(found, margin) if isinstance(found, Between) and margin else None
    row: Row = {
        "trace": f"between/{kind}/{model}/{level}/{environment}/{metric}",
        "kind": kind,
        "model": model,
        "level": level,
        "environment": environment,
        "metric": metric,
        "there": math.exp(a.mean),
        "here": math.exp(b.mean),
        "n_there": a.n,
        "n_here": b.n,
        "margin": margin,
        "sentence": _sentence(kind, key, found, decision),
        "source": _SOURCES[kind],
    }
    if isinstance(found, NotEstimable):
        return row | {"not_estimable": found.reason}
    row |= {"ratio": found.ratio, "low": found.ci95[0], "high": found.ci95[1], "df": found.df}
    row |= {"low90": found.ci90[0], "high90": found.ci90[1], "excludes_one": found.excludes_one}
    if decision is not None:
        row |= {"verdict": decision.verdict, "pairs_needed": decision.pairs_needed}
    return row


_SOURCES = {
    OVERHEAD: (
        "comparisons of that cell and metric in both datasets: exp(difference of the mean log ratios), standard "
        "error sqrt(s1^2/n1 + s2^2/n2), Student's t with Welch's and Satterthwaite's degrees of freedom"
    ),
    ARM: (
        "runs of that cell in both datasets: exp(difference of the mean logarithms), standard error sqrt(s1^2/n1 + "
        "s2^2/n2), Student's t with Welch's and Satterthwaite's degrees of freedom"
    ),
}


def _sentence(kind: str, key: Key, found: Between | NotEstimable, decision: Decision | None) -> str:
    model, level, environment, metric = key
    subject = f"the overhead of the {arm(environment)}" if kind == OVERHEAD else f"the {arm(environment)} arm itself"
    what = f"{cell(model, level)}, {metric_name(metric)}: {subject}, this study over the other"
    if isinstance(found, NotEstimable):
        return f"{what}: not estimable, {found.reason}."
    text = f"{what}, is a ratio of {found.ratio:.4f} (95 % CI {found.ci95[0]:.4f} to {found.ci95[1]:.4f})"
    if decision is None:
        return f"{text}; no margin was fixed."
    real = ", though the change is real" if found.excludes_one else ""
    judged = {
        "equivalent": f"equivalent within {decision.margin:.1%}{real}",
        "different": f"different by more than {decision.margin:.1%}",
        "undecided": f"undecided at {decision.margin:.1%}; "
        + (
            f"{decision.pairs_needed} pairs in each study would decide if nothing changed"
            if decision.pairs_needed
            else "more than 100,000 pairs would be needed"
        ),
    }
    return f"{text}: {judged[decision.verdict]}."
