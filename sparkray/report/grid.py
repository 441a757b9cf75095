"""A table as content, apart from how it is set: the page and the manuscript render the same one. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparkray.analysis.text import Say, Text, enumerated, say
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
    """One cell: a number with evidence, `low to high`, or the row's own words."""
    if field.ends is not None:
        low, high = (book.number(row, end, field.form) for end in field.ends)
        return say("{low} to {high}", low=low, high=high) if row[field.ends[0]] is not None else "–"
    value = row[field.column]
    if isinstance(value, str):
        return book.linked(value, str(row["trace"]))
    return book.number(row, field.column, field.form)


def rows_of(book: Book, rows: Iterable[Row], fields: Sequence[Field]) -> tuple[tuple[Say, ...], ...]:
    """Rows of a cell table: model, environment, metric, then the fields."""
    return tuple(
        (
            cell(row["model"], row["level"]),
            arm(row["environment"]),
            metric_name(row["metric"]),
            *(quoted(book, row, field) for field in fields),
        )
        for row in rows
    )


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
)
_ESTIMATES = (
    Field("pairs", "n", "count"),
    Field("ratio", "ratio", "ratio"),
    Field("95 % CI", "ratio", "ratio", ("low", "high")),
    Field("90 % CI", "ratio", "ratio", ("low90", "high90")),
    Field("margin", "margin", "share"),
    Field("verdict", "verdict", "ratio"),
    Field("pairs that decide", "pairs_needed", "count"),
    Field("permutation p", "permutation_p", "p"),
    Field("without outliers", "ratio_without_outliers", "ratio"),
    Field("outliers", "outliers", "count"),
    Field("ratio of sd", "sd_ratio", "significant"),
    Field("95 % CI", "sd_ratio", "significant", ("sd_ratio_low", "sd_ratio_high")),
    Field("detectable", "minimum_detectable", "share"),
    Field("power planned", "power_planned", "share"),
)
_PROTOCOL = (
    Field("test", "test", "ratio"),
    Field("statistic", "statistic", "significant"),
    Field("p", "p", "p"),
    Field("Bonferroni", "p_bonferroni", "p"),
    Field("Holm", "p_holm", "p"),
    Field("Benjamini-Hochberg", "p_bh", "p"),
    Field("Cohen's d", "cohen_d", "effect"),
    Field("95 % CI", "cohen_d", "effect", ("d_low", "d_high")),
    Field("Hedges' g", "hedges_g", "effect"),
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
    return [
        make(
            "estimates",
            (*say("Paired inside blocks: ratio to the reference, intervals, verdict."), *left),
            "comparisons",
            _ESTIMATES,
        ),
        make(
            "protocol",
            say(
                "The study's own protocol: both arms as independent samples, which blocks are not. Post-hoc power "
                "is a function of p and adds nothing to it."
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
    ]
