"""KV cache against the memory that the run took: whether two reported effects are one."""

from statistics import median

from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import arm_lines, arm_points, legend_above, of_cell, panels
from sparkray.report.labels import axis_label, cell
from sparkray.report.style import COLUMN_IN

ORDER = 70
TABLES = ("runs",)
KV, MEMORY = "kv_cache_gib", "host_available_drop_peak_gib"


def draw(data: ReportData) -> Figure | None:
    """A point a run; cells are numbered, and the key stands below."""
    runs = [row for row in data.rows("runs") if row[KV] is not None and row[MEMORY] is not None]
    if not runs:
        return None
    cells, environments = cells_of(data, runs), arms_of(runs)
    figure, (axis,) = panels(COLUMN_IN, 2.6 + 0.09 * len(cells))
    for name in environments:
        mine = [row for row in runs if row["environment"] == name]
        style = {"markersize": 3, "markeredgewidth": 0.2, "alpha": 0.85}
        arm_points(axis, name, [row[MEMORY] for row in mine], [row[KV] for row in mine], **style)
    for index, key in enumerate(cells, 1):
        mine = of_cell(runs, key)
        place = median(row[MEMORY] for row in mine), median(row[KV] for row in mine)
        off = ((4, 4), (-8, -9), (4, -9))[index % 3]
        axis.annotate(str(index), place, xytext=off, textcoords="offset points", fontsize=6, fontweight="bold")
    axis.set_xlabel(axis_label(MEMORY))
    axis.set_ylabel(axis_label(KV))
    names = [f"{index} {cell(*one)}" for index, one in enumerate(cells, 1)]
    lines = ["   ".join(names[start : start + 2]) for start in range(0, len(names), 2)]
    figure.supxlabel("\n".join(lines), fontsize=5.5, ha="center")
    legend_above(figure, arm_lines(environments))
    return figure
