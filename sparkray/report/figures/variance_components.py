"""Where the variance comes from: what pairing removes, what more runs remove, what more requests remove."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sparkray.analysis.text import Text, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import cells_of, first_metric
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import name_of, plain_figure
from sparkray.report.labels import cell, metric_name
from sparkray.report.style import BLUE, COLUMN_IN, ORANGE

TITLE = "Where the variance comes from"
ORDER = 100
TABLES = ("diagnostics",)
_PARTS = (
    ("share_between_blocks_pct", "between blocks (pairing removes it)", BLUE, ""),
    ("share_within_pct", "from run to run within blocks", ORANGE, "///"),
    ("share_run_request_pct", "residual of run × request", "#FFFFFF", "..."),
)


def draw(book: Book) -> Drawn | NoFigure:
    """A bar a model, of three parts that make the whole; the shares are of all environments together."""
    metric = _metric(book)
    rows = [row for row in book.rows("diagnostics", metric=metric) if row["share_within_pct"] is not None]
    if metric is None or not rows:
        return NoFigure("variance components need at least two blocks with every environment")
    cells = cells_of(book, rows)
    one_each = [next(row for row in rows if (row["model"], row["level"] or "") == key) for key in cells]
    figure, (axis,) = plain_figure(COLUMN_IN, max(1.7, 0.95 + 0.17 * len(cells)))
    for place, row in enumerate(one_each):
        _bar(axis, row, place)
    axis.set_yticks(range(len(cells)), [name_of(key) for key in cells])
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of variance (%)")
    axis.set_title(metric_name(metric))
    axis.set_ylabel("model")
    handles = [Patch(facecolor=c, hatch=h, edgecolor="k", linewidth=0.4, label=name) for _, name, c, h in _PARTS]
    figure.legend(handles=handles, loc="outside upper center", ncols=1, handlelength=1.8)
    return Drawn(figure, _caption(book, one_each, metric), _alt(one_each))


def _metric(book: Book) -> str | None:
    """Latency, which requests have too; else the first primary metric."""
    there = {row["metric"] for row in book.rows("diagnostics") if row["share_run_request_pct"] is not None}
    return next(iter(sorted(there)), first_metric(book))


def _bar(axis: Axes, row: Row, place: int) -> None:
    start = 0.0
    for column, _, colour, hatch in _PARTS:
        share = row[column] or 0.0
        axis.barh(place, share, 0.75, left=start, color=colour, hatch=hatch, edgecolor="k", linewidth=0.3)
        start += share


def _caption(book: Book, rows: Sequence[Row], metric: str) -> Text:
    most = max(rows, key=lambda row: row["share_between_blocks_pct"] or 0.0)
    least = min(rows, key=lambda row: row["share_between_blocks_pct"] or 0.0)
    return say(
        "Of the variance of {metric}, blocks explain from {low} ({calm}) to {high} ({blocky}): that part leaves "
        "the paired comparison.",
        metric=metric_name(metric),
        low=book.number(least, "share_between_blocks_pct", "per_cent"),
        calm=cell(least["model"], least["level"]),
        high=book.number(most, "share_between_blocks_pct", "per_cent"),
        blocky=cell(most["model"], most["level"]),
    )


def _alt(rows: Sequence[Row]) -> str:
    said = "; ".join(
        f"{cell(row['model'], row['level'])}: {row['share_between_blocks_pct'] or 0:.0f} "
        f"% between blocks, {row['share_within_pct']:.0f} % within"
        for row in rows
    )
    return f"Stacked bars of variance shares. {said}."
