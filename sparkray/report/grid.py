"""A table as content, apart from how it is set: the page and the manuscript render the same one. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparkray.analysis.forms import MISSING
from sparkray.analysis.text import Say, Text, enumerated, joined, number_of, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import cells_of
from sparkray.report.labels import arm, cell, metric_name


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: Id in the page, file name in the manuscript.
        caption: What it shows.
        head: Names of the columns.
        rows: Cells; the first `headers` of a row say what the row is.
        headers: How many cells of a row are names.
    """

    name: str
    caption: Text
    head: tuple[str, ...]
    rows: tuple[tuple[Say, ...], ...]
    headers: int = 1


@dataclass(frozen=True)
class Field:
    """A column of a grid: its heading, the table's column, the form of its numbers; `ends` makes it an interval."""

    head: str
    column: str
    form: str
    ends: tuple[str, str] | None = None


def quoted(book: Book, row: Row, field: Field) -> Say:
    """One cell: a number with evidence, `low to high`, the row's own words, or a dash with the reason for it."""
    if field.ends is not None:
        missing = [end for end in field.ends if row[end] is None]
        if len(missing) == len(field.ends):
            return _missing(row, field.ends[0])
        low, high = (_missing(row, end) if end in missing else book.number(row, end, field.form) for end in field.ends)
        return say("{low} to {high}", low=low, high=high)
    value = row[field.column]
    if value is None:
        return _missing(row, field.column)
    if isinstance(value, str):
        return book.linked(value, str(row["trace"]))
    return book.number(row, field.column, field.form)


def _missing(row: Row, column: str) -> Text:
    """A dash, and why there is no number where the row says so."""
    why = json.loads(row.get("why_null") or "{}").get(column) or row.get("not_estimable")
    if not why:
        return (MISSING,)
    source = "not_estimable" if why == row.get("not_estimable") else f"why_null/{column}"
    return say(MISSING + " ({why})", why=number_of(why, "words", trace=str(row["trace"]), column=source))


def rows_of(book: Book, rows: Iterable[Row], fields: Sequence[Field]) -> tuple[tuple[Say, ...], ...]:
    """Rows of a cell table: model, environment, metric, then the fields."""
    return tuple(
        (
            cell(row["model"], row["level"]),
            arm(row["environment"]),
            _metric(book, row),
            *(quoted(book, row, field) for field in fields),
        )
        for row in rows
    )


def _metric(book: Book, row: Row) -> Text:
    """A row's metric; energy and power never without whether the counter bears them out."""
    if not row.get("power_checked"):
        return (metric_name(row["metric"]),)
    checked = book.linked(row["power_checked"], str(row["trace"]))
    return say("{metric} (power: {checked})", metric=metric_name(row["metric"]), checked=checked)


CELL_HEAD = ("model", "environment", "metric")
_DESCRIPTIVE = (
    Field("n", "n", "count"),
    Field("mean", "mean", "significant"),
    Field("95 % CI", "mean", "significant", ("mean_low", "mean_high")),
    Field("median", "median", "significant"),
    Field("95 % CI", "median", "significant", ("median_low", "median_high")),
    Field("sd", "sd", "significant"),
    Field("CV", "cv_pct", "per_cent"),
    Field("min", "min", "significant"),
    Field("quartiles", "q1", "significant", ("q1", "q3")),
    Field("max", "max", "significant"),
    Field("5th percentile", "p5", "significant"),
    Field("95 % CI", "p5", "significant", ("p5_low", "p5_high")),
    Field("95th percentile", "p95", "significant"),
    Field("95 % CI", "p95", "significant", ("p95_low", "p95_high")),
    Field("99th percentile", "p99", "significant"),
    Field("95 % CI", "p99", "significant", ("p99_low", "p99_high")),
)
_ESTIMATES = (
    Field("pairs", "n", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low", "high")),
    Field("90 % CI", "ratio", "ratio", ("low90", "high90")),
    Field("margin", "margin", "share"),
    Field("verdict", "verdict", "ratio"),
    Field("pairs that decide", "pairs_needed", "count"),
    Field("paired p", "p_paired", "p"),
    Field("family", "family", "words"),
    Field("Bonferroni", "p_paired_bonferroni", "p"),
    Field("Holm", "p_paired_holm", "p"),
    Field("Benjamini-Hochberg", "p_paired_bh", "p"),
    Field("flips of signs p", "permutation_p", "p"),
    Field("detectable", "minimum_detectable", "share"),
    Field("power planned", "power_planned", "share"),
    Field("planned effect", "planned_effect", "share"),
    Field("power for it", "power_a_priori", "share"),
    Field("by the noise of", "a_priori_basis", "words"),
    Field("pairs for it", "pairs_a_priori", "count"),
)
_ROBUST = (
    Field("pairs", "n", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("verdict", "verdict", "words"),
    Field("outliers", "outliers", "count"),
    Field("without them", "ratio_without_outliers", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low_without_outliers", "high_without_outliers")),
    Field("verdict", "verdict_without_outliers", "words"),
    Field("drift a pair", "ratio_drift_pct_per_pair", "fine_per_cent"),
    Field("p", "ratio_drift_p", "p"),
    Field("lag-1", "ratio_lag1", "effect"),
    Field("effective pairs", "ratio_effective_n", "size"),
    Field("ratio of total sd", "sd_ratio", "significant"),
    Field("95 % CI", "sd_ratio", "significant", ("sd_ratio_low", "sd_ratio_high")),
    Field("machines or days", "clusters", "count"),
    Field("95 % CI over them", "ratio", "ratio", ("cluster_low", "cluster_high")),
    Field("verdict", "cluster_verdict", "words"),
    Field("bootstrap of them", "ratio", "ratio", ("cluster_bootstrap_low", "cluster_bootstrap_high")),
    Field("random intercept", "intercept_ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("intercept_low", "intercept_high")),
)
_PROTOCOL = (
    Field("family", "family", "words"),
    Field("test", "test", "ratio"),
    Field("statistic", "statistic", "significant"),
    Field("p", "p", "p"),
    Field("Bonferroni", "p_bonferroni", "p"),
    Field("Holm", "p_holm", "p"),
    Field("Benjamini-Hochberg", "p_bh", "p"),
    Field("Cohen's d", "cohen_d", "effect"),
    Field("95 % CI", "cohen_d", "effect", ("d_low", "d_high")),
    Field("Hedges' g", "hedges_g", "effect"),
    Field("95 % CI", "hedges_g", "effect", ("g_low", "g_high")),
    Field("BCa of means", "bootstrap_low", "ratio", ("bootstrap_low", "bootstrap_high")),
    Field("Shapiro-Wilk p, reference", "shapiro_p_a", "p"),
    Field("other", "shapiro_p_b", "p"),
    Field("Levene p", "levene_p", "p"),
    Field("post-hoc power", "power_post_hoc", "share"),
)


def _ordered(book: Book, rows: list[Row]) -> list[Row]:
    """By model, small ones first, then in the table's order."""
    cells = cells_of(book, rows)
    return sorted(rows, key=lambda row: cells.index((row["model"], row["level"] or "")))


_OVER_LOOKS = " Looks were taken: the intervals of the ratio hold over all of them, and there is no p-value."
FIXED = " Looks were taken: intervals here are those of a fixed number of runs, which do not hold over looks."


def full_tables(book: Book, metrics: Sequence[str]) -> list[Grid]:
    """The tables behind the figures, for the metrics that are shown."""

    def make(name: str, caption: Text, table: str, fields: Sequence[Field]) -> Grid:
        rows = _ordered(book, [row for row in book.rows(table) if row["metric"] in metrics])
        head = (*CELL_HEAD, *(field.head for field in fields))
        return Grid(name, caption, head, rows_of(book, rows, fields), headers=len(CELL_HEAD))

    others = sorted({row["metric"] for row in book.rows("comparisons")} - set(metrics))
    left = (
        say(" Further metrics ({names}) stand in tables/.", names=enumerated(map(metric_name, others)))
        if others
        else ()
    )
    over, fixed = ((_OVER_LOOKS,), FIXED) if book.looked else ((), "")
    return [
        make(
            "estimates",
            joined(("Paired inside blocks: ratio to the reference, intervals, verdict.", *over, *left)),
            "comparisons",
            _ESTIMATES,
        ),
        make(
            "robust",
            say(
                "The same by other means: without outlying pairs, over time, in spread (total, blocks included), "
                "over machines or days.{fixed}",
                fixed=fixed,
            ),
            "comparisons",
            _ROBUST,
        ),
        make(
            "protocol",
            say(
                "The study's own protocol: both arms as independent samples, which blocks are not. Post-hoc power "
                "is a function of p and adds nothing to it.{fixed}",
                fixed=fixed,
            ),
            "comparisons",
            _PROTOCOL,
        ),
        make(
            "descriptive",
            say("Descriptive statistics over runs, in the metric's own unit."),
            "descriptive",
            _DESCRIPTIVE,
        ),
        make(
            "diagnostics",
            say("Arms over time, and where their variance comes from."),
            "diagnostics",
            _DIAGNOSTICS,
        ),
        *(one for one in (_gaps(book, metrics), _sizes(book, metrics), _contrasts(book, metrics)) if one.rows),
    ]


_DIAGNOSTICS = (
    Field("runs", "n", "count"),
    Field("drift a run", "drift_pct_per_run", "fine_per_cent"),
    Field("p", "drift_p", "p"),
    Field("lag-1", "lag1", "effect"),
    Field("effective runs", "effective_n", "size"),
    Field("between blocks", "share_between_blocks_pct", "per_cent"),
    Field("run to run", "share_within_pct", "per_cent"),
    Field("run x request", "share_run_request_pct", "per_cent"),
    Field("outliers", "outliers", "count"),
    Field("first run slow", "first_run_slow", "words"),
)
_GAP = (
    Field("pairs", "n", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low", "high")),
    Field("p after Holm", "p_holm", "p"),
    Field("gap, p after Holm", "gap_p_holm", "p"),
    Field("gap shown", "gap_shown", "words"),
    Field("closed", "closed_pct", "per_cent"),
    Field("95 % CI", "closed_pct", "per_cent", ("closed_low_pct", "closed_high_pct")),
    Field("ratio of total sd", "sd_ratio", "significant"),
    Field("95 % CI", "sd_ratio", "significant", ("sd_ratio_low", "sd_ratio_high")),
    Field("its p after Holm", "sd_ratio_p_holm", "p"),
)
_SIZE = (
    Field("models", "n_models", "count"),
    Field("left out", "models_left_out", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low", "high")),
    Field("Cochran's Q", "q", "significant"),
    Field("p", "q_p", "p"),
    Field("I squared", "i2_pct", "per_cent"),
    Field("tau", "tau", "significant"),
)
_CONTRAST = (
    Field("models", "n_models", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low", "high")),
    Field("degrees of freedom", "df", "count"),
    Field("p", "p", "p"),
    Field("Holm", "p_holm", "p"),
)


def _gaps(book: Book, metrics: Sequence[str]) -> Grid:
    rows = _ordered(book, [row for row in book.rows("gap") if row["metric"] in metrics])
    caption = say(
        "The tuned container over the baseline container: mean, part of the gap that is closed, total spread.{fixed}",
        fixed=FIXED if book.looked else "",
    )
    return Grid("gap", caption, (*CELL_HEAD, *(field.head for field in _GAP)), rows_of(book, rows, _GAP), headers=3)


def _across(
    book: Book, rows: Iterable[Row], names: Sequence[str], fields: Sequence[Field]
) -> tuple[tuple[Say, ...], ...]:
    """Rows over models: metric, environment with its level, what the row is, then the fields."""
    return tuple(
        (
            metric_name(row["metric"]),
            cell(arm(row["environment"]), row["level"]),
            *(str(row[name]) for name in names),
            *(quoted(book, row, field) for field in fields),
        )
        for row in rows
    )


def _sizes(book: Book, metrics: Sequence[str]) -> Grid:
    kinds = ("architecture", "precision", "all")
    rows = [row for row in book.rows("size") if row["metric"] in metrics and row["group_by"] in kinds]
    caption = say(
        "What models say together, the model being the unit: mean of a group, and how models scatter inside of it."
    )
    head = ("metric", "environment", "by", "group", *(field.head for field in _SIZE))
    return Grid("groups", caption, head, _across(book, rows, ("group_by", "group"), _SIZE), headers=4)


def _contrasts(book: Book, metrics: Sequence[str]) -> Grid:
    rows = [row for row in book.rows("contrasts") if row["metric"] in metrics]
    caption = say(
        "Groups of models against each other: ratio of the second over the first, Holm over all that were asked."
    )
    head = ("metric", "environment", "by", "first", "second", *(field.head for field in _CONTRAST))
    return Grid("contrasts", caption, head, _across(book, rows, ("group_by", "first", "second"), _CONTRAST), headers=5)
