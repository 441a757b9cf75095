"""The verdict as it would have stood after fewer blocks: were thirty enough, and since when?"""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparkray.report.cells import arms_of, cells_of, first_metric
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import legend_above, name_of, named_rows, of_cell, panels
from sparkray.report.labels import arm
from sparkray.report.style import BLUE, COLUMN_IN, ORANGE

ORDER = 95
TABLES = ("verdict_by_n",)
_TICKS = 8
_MARKS = {"equivalent": ("o", BLUE, BLUE), "different": ("X", ORANGE, "black"), "undecided": ("o", "white", "#777777")}


def draw(data: ReportData) -> Figure | None:
    """A row a model, a mark for the verdict after the first 5, 10, 15 ... blocks, of the first primary metric."""
    metric = first_metric(data)
    rows = [row for row in data.rows("verdict_by_n", metric=metric) if row["verdict"]]
    if metric is None or not rows:
        return None
    environments = arms_of(rows)
    labels = [(key, name) for key in cells_of(data, rows) for name in environments]
    figure, (axis,) = panels(COLUMN_IN, max(1.4, 0.9 + 0.16 * len(labels)))
    for place, (key, name) in enumerate(labels):
        mine = [row for row in of_cell(rows, key) if row["environment"] == name]
        axis.plot([row["n"] for row in mine], [place] * len(mine), color="#BBBBBB", linewidth=0.6, zorder=1)
        for row in mine:
            marker, colour, edge = _MARKS[row["verdict"]]
            axis.plot([row["n"]], [place], marker, color=colour, markeredgecolor=edge, markersize=4.5, zorder=2)
    several = len(environments) > 1
    named_rows(axis, [f"{name_of(key)}, {arm(name)}" if several else name_of(key) for key, name in labels])
    axis.set_xlabel("first pairs (number)")
    counts = sorted({row["n"] for row in rows})
    axis.set_xticks(counts[:: -(-len(counts) // _TICKS)])
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markeredgecolor=edge, label=word)
        for word, (marker, colour, edge) in _MARKS.items()
    ]
    legend_above(figure, handles, handlelength=2.0)
    return figure
