"""KV cache against the memory that the run took: whether two reported effects are one."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import Cell, arms_of, cells_of
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, legend_above, plain_figure
from sparkray.report.labels import axis_label, cell
from sparkray.report.style import COLUMN_IN, look

TITLE = "KV cache against memory"
ORDER = 70
TABLES = ("runs",)
KV, MEMORY = "kv_cache_gib", "host_available_drop_peak_gib"


def draw(book: Book) -> Drawn | NoFigure:
    """A point a run; cells are numbered, and the key stands below."""
    runs = [row for row in book.rows("runs") if row[KV] is not None and row[MEMORY] is not None]
    if not runs:
        return NoFigure("no run has both a KV cache that the engine reports and a drop of available memory")
    cells, environments = cells_of(book, runs), arms_of(runs)
    figure, (axis,) = plain_figure(COLUMN_IN, 2.6 + 0.09 * len(cells))
    for name in environments:
        mine = [row for row in runs if row["environment"] == name]
        face = look(name)
        axis.plot(
            [row[MEMORY] for row in mine],
            [row[KV] for row in mine],
            face.marker,
            color=face.colour,
            markersize=3,
            markeredgecolor="k",
            markeredgewidth=0.2,
            alpha=0.85,
        )
    _numbers(axis, runs, cells)
    axis.set_xlabel(axis_label(MEMORY))
    axis.set_ylabel(axis_label(KV))
    key = [f"{index} {cell(*one)}" for index, one in enumerate(cells, 1)]
    lines = ["   ".join(key[start : start + 2]) for start in range(0, len(key), 2)]
    figure.supxlabel("\n".join(lines), fontsize=5.5, ha="center")
    legend_above(figure, arm_lines(environments))
    return Drawn(figure, _caption(book, runs), f"Scatter of {len(runs)} runs: KV cache over memory, by arm and model.")


def _numbers(axis: Axes, runs: Sequence[Row], cells: Sequence[Cell]) -> None:
    for index, key in enumerate(cells, 1):
        mine = [row for row in runs if (row["model"], row["level"] or "") == key]
        axis.annotate(
            str(index),
            (median(row[MEMORY] for row in mine), median(row[KV] for row in mine)),
            xytext=((4, 4), (-8, -9), (4, -9))[index % 3],
            textcoords="offset points",
            fontsize=6,
            fontweight="bold",
        )


def _caption(book: Book, runs: Sequence[Row]) -> Text:
    least, most = min(runs, key=lambda row: row[KV]), max(runs, key=lambda row: row[KV])
    return sentences(
        say(
            "KV cache from {low} to {high} GiB; a point is one run.",
            low=book.number(least, KV, "significant"),
            high=book.number(most, KV, "significant"),
        ),
        say(
            "An engine that gives its cache a share of what was free draws a falling line here: then cache and "
            "memory are one measurement, not two effects."
        ),
    )
