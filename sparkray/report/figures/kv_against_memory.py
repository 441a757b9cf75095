"""KV cache against the memory that the run took: whether two reported effects are one."""

from collections.abc import Sequence
from statistics import median

from matplotlib.figure import Figure

from sparkray.report.cells import Cell, arms_of, cells_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import arm_lines, arm_points, legend_above, of_cell, panels
from sparkray.report.labels import axis_label, cell
from sparkray.report.style import COLUMN_IN

ORDER = 70
TABLES = ("runs",)
# Of the range that the runs take.
_CLOSE = 0.05
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
    for place, numbers in _labels(runs, cells):
        text = ", ".join(map(str, sorted(numbers)))
        axis.annotate(text, place, xytext=(5, 5), textcoords="offset points", fontsize=6, fontweight="bold", zorder=5)
    axis.set_xlabel(axis_label(MEMORY))
    axis.set_ylabel(axis_label(KV))
    names = [f"{index} {cell(*one)}" for index, one in enumerate(cells, 1)]
    lines = ["   ".join(names[start : start + 2]) for start in range(0, len(names), 2)]
    figure.supxlabel("\n".join(lines), fontsize=5.5, ha="center")
    legend_above(figure, arm_lines(environments))
    return figure


def _labels(runs: Sequence[Row], cells: Sequence[Cell]) -> list[tuple[tuple[float, float], list[int]]]:
    """Places of the cells' numbers, from left to right: one for cells that are too close for a label of their own."""
    width, height = (max(row[name] for row in runs) - min(row[name] for row in runs) for name in (MEMORY, KV))
    middles = []
    for number, key in enumerate(cells, 1):
        mine = of_cell(runs, key)
        middles.append((median(row[MEMORY] for row in mine), median(row[KV] for row in mine), number))
    found: list[tuple[tuple[float, float], list[int]]] = []
    for x, y, number in sorted(middles):
        if found:
            (left, above), numbers = found[-1]
            if abs(x - left) <= _CLOSE * width and abs(y - above) <= _CLOSE * height:
                found[-1] = ((x, max(y, above)), [*numbers, number])
                continue
        found.append(((x, y), [number]))
    return found
