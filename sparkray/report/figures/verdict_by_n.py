"""The verdict as it would have stood after fewer blocks: were thirty enough, and since when?"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of, first_metric
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import name_of, plain_figure
from sparkray.report.labels import arm, cell, metric_name
from sparkray.report.style import BLUE, COLUMN_IN, ORANGE
from sparkray.schema import capital

TITLE = "The verdict after fewer blocks"
ORDER = 95
TABLES = ("verdict_by_n",)
_MARKS = {"equivalent": ("o", BLUE, BLUE), "different": ("X", ORANGE, "black"), "undecided": ("o", "white", "#777777")}


def draw(book: Book) -> Drawn | NoFigure:
    """A row a model, a mark for the verdict after the first 5, 10, 15 ... blocks, of the first primary metric."""
    metric = first_metric(book)
    rows = [row for row in book.rows("verdict_by_n", metric=metric) if row["verdict"]]
    if metric is None or not rows:
        return NoFigure("no verdict: fewer than five complete blocks, or no margin")
    cells, environments = cells_of(book, rows), arms_of(rows)
    labels = [(key, name) for key in cells for name in environments]
    figure, (axis,) = plain_figure(COLUMN_IN, max(1.4, 0.9 + 0.16 * len(labels)))
    _marks(axis, rows, labels)
    axis.set_yticks(
        range(len(labels)),
        [f"{name_of(key)}, {arm(name)}" if len(environments) > 1 else name_of(key) for key, name in labels],
    )
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlabel("first pairs (number)")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_ylabel("model")
    handles = [
        Line2D([], [], linestyle="", marker=m, color=c, markeredgecolor=e, label=word)
        for word, (m, c, e) in _MARKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return Drawn(figure, _caption(book, rows, metric), _alt(rows))


def _marks(axis: Axes, rows: Sequence[Row], labels: Sequence[tuple[tuple[str, str], str]]) -> None:
    for place, (key, name) in enumerate(labels):
        mine = [row for row in rows if (row["model"], row["level"] or "", row["environment"]) == (*key, name)]
        axis.plot([row["n"] for row in mine], [place] * len(mine), color="#BBBBBB", linewidth=0.6, zorder=1)
        for row in mine:
            marker, colour, edge = _MARKS[row["verdict"]]
            axis.plot([row["n"]], [place], marker, color=colour, markeredgecolor=edge, markersize=4.5, zorder=2)


def _settled(mine: Sequence[Row]) -> Row | None:
    """The first row from which on the verdict stays what it is at the end, if it is decided."""
    last = mine[-1]["verdict"]
    settled = mine[-1]
    for row in reversed(mine):
        if row["verdict"] != last:
            break
        settled = row
    return None if last == "undecided" else settled


def _caption(book: Book, rows: Sequence[Row], metric: str) -> Text:
    by_cell: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["n"]):
        by_cell.setdefault((row["model"], row["level"] or "", row["environment"]), []).append(row)
    settled = [end for mine in by_cell.values() if (end := _settled(mine)) is not None]
    name = capital(metric_name(metric))
    if not settled:
        most = max(rows, key=lambda row: row["n"])
        return say("{name}: nothing is decided after {n} pairs.", name=name, n=book.number(most, "n", "count"))
    latest = max(settled, key=lambda row: row["n"])
    return say(
        "{name}: of the verdicts that are decided, the last to settle was that on {cell}, {arm}, after {n} pairs. "
        "Looking again and again has a price: a sequential design pays it beforehand.",
        name=name,
        cell=cell(latest["model"], latest["level"]),
        arm=arm(latest["environment"]),
        n=book.number(latest, "n", "count"),
    )


def _alt(rows: Sequence[Row]) -> str:
    said = "; ".join(f"{row['model']} {row['environment']} at {row['n']}: {row['verdict']}" for row in rows)
    return f"Marks of verdicts over the number of pairs. {said}."
