"""The ratios with their intervals, the margins shaded: the answer in one look."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import Cell, arms_of, cells_of, primary_metrics
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, legend_above, name_of, plain_figure, ratio_axis
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import BAND, INK, PAGE_IN, look

TITLE = "Ratio of every model, with its margin"
ORDER = 10
TABLES = ("comparisons",)
_ROW_IN = 0.2
_PANELS = 3
_WIDEST = 4.0
"""Ratio beyond which an axis ends; an interval that goes on ends in an arrow."""


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a primary metric, a row a model, an interval an environment."""
    metrics = primary_metrics(book)[:_PANELS]
    rows = [row for row in book.rows("comparisons") if row["metric"] in metrics and row["ratio"] is not None]
    if not rows:
        return NoFigure("no comparison could be estimated: an interval needs two complete pairs")
    cells, environments = cells_of(book, rows), arms_of(rows)
    height = max(1.5, 0.75 + _ROW_IN * len(cells) * max(1, len(environments) * 0.75))
    figure, axes = plain_figure(PAGE_IN, height, 1, len(metrics), sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, [row for row in rows if row["metric"] == metric], cells, environments)
        axis.set_title(f"{metric_name(metric)}")
        axis.set_xlabel(f"ratio to {arm(rows[0]['against'])}")
    axes[0].set_yticks(range(len(cells)), [name_of(key) for key in cells])
    axes[0].set_ylabel("model")
    axes[0].invert_yaxis()
    legend_above(figure, arm_lines(environments))
    alt = "Forest plot. " + " ".join(row["sentence"] or "" for row in rows)
    return Drawn(figure, sentences(*(_caption(book, metric) for metric in metrics), _how_to_read()), alt)


def _panel(axis: Axes, rows: Sequence[Row], cells: Sequence[Cell], environments: Sequence[str]) -> None:
    margin = next((row["margin"] for row in rows if row["margin"]), None)
    low, high = _limits(rows, margin)
    ratio_axis(axis, low, high)
    if margin is not None:
        axis.axvspan(1 / (1 + margin), 1 + margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(1.0, color=INK, linewidth=0.6, zorder=1)
    for row in rows:
        place = environments.index(row["environment"]) - (len(environments) - 1) / 2
        _interval(
            axis, row, cells.index((row["model"], row["level"] or "")) + place * 0.6 / len(environments), (low, high)
        )
    for between in range(len(cells) - 1):
        axis.axhline(between + 0.5, color="#EEEEEE", linewidth=0.5, zorder=0)
    axis.set_ylim(-0.6, len(cells) - 0.4)


def _interval(axis: Axes, row: Row, y: float, ends: tuple[float, float]) -> None:
    face = look(row["environment"])
    axis.plot([row["low"], row["high"]], [y, y], color=face.colour, linewidth=1.0, solid_capstyle="butt", zorder=2)
    axis.plot([row["low90"], row["high90"]], [y, y], color=face.colour, linewidth=2.4, solid_capstyle="butt", zorder=2)
    filled = face.colour if row["verdict"] in ("equivalent", "different") else "white"
    axis.plot(
        [min(max(row["ratio"], ends[0]), ends[1])],
        [y],
        face.marker,
        color=filled,
        markeredgecolor="k",
        markeredgewidth=0.5,
        markersize=4.2,
        zorder=3,
        clip_on=False,
    )
    for end, value, marker in ((ends[0], row["low"], "<"), (ends[1], row["high"], ">")):
        if (value < end) if marker == "<" else (value > end):
            axis.plot([end], [y], marker, color="k", markersize=3, clip_on=False, zorder=4)


def _limits(rows: Sequence[Row], margin: float | None) -> tuple[float, float]:
    """Symmetric on the log scale, so that as much more and as much less look alike."""
    reach = max(
        [abs(math.log(end)) for row in rows for end in (row["low"], row["high"])]
        + [math.log1p(margin or 0.0) * 1.6, 1e-3]
    )
    reach = min(reach * 1.08, math.log(_WIDEST))
    return math.exp(-reach), math.exp(reach)


def _caption(book: Book, metric: str) -> Text:
    def words(verdict: str) -> Text:
        return say("{n} {verdict}", n=book.count("comparisons", metric=metric, verdict=verdict), verdict=verdict)

    found = [words(verdict) for verdict in ("equivalent", "different", "undecided")]
    total = book.count("comparisons", metric=metric)
    name = metric_name(metric)
    if not book.rows("comparisons", metric=metric, margin=None):
        return say(
            "{name}: of {total} comparisons {a}, {b}, {c}.",
            name=name[0].upper() + name[1:],
            total=total,
            a=found[0],
            b=found[1],
            c=found[2],
        )
    return say("{name}: {total} comparisons; no margin was fixed.", name=name[0].upper() + name[1:], total=total)


def _how_to_read() -> Text:
    return say(
        "A thin line is the two-sided confidence interval, its thick part the one that the equivalence test reads; "
        "the shaded band is the margin. Filled marks are decided, hollow ones are not."
    )
