"""The distribution of single requests: a tail that means do not show. Requests are no replicates."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import (
    COLUMNS,
    arm_lines,
    legend_above,
    name_of,
    of_cell,
    panels,
    plain_ticks,
)
from sparkray.report.figures._ticks import set_names
from sparkray.report.style import PAGE_IN, arm_style

ORDER = 60
TABLES = ("requests",)
_NAMES = {"latency_ms": "latency (ms)", "ttft_ms": "TTFT (ms)"}


def draw(data: ReportData) -> Figure | None:
    """For each model a panel of latency and below it one of time to first token; a curve an arm."""
    rows = [row for row in data.rows("requests") if row["value"] is not None]
    if not rows:
        return None
    cells, environments = cells_of(data, rows), arms_of(rows)
    metrics = [name for name in _NAMES if any(row["metric"] == name for row in rows)]
    across = min(COLUMNS, len(cells))
    down = -(-len(cells) // across) * len(metrics)
    figure, axes = panels(PAGE_IN, 0.45 + 1.12 * down, down, across, sharey=True)
    for place, axis in enumerate(axes):
        line, column = divmod(place, across)
        index, metric = line // len(metrics) * across + column, metrics[line % len(metrics)]
        if index >= len(cells):
            axis.remove()
            continue
        _panel(axis, [row for row in of_cell(rows, cells[index]) if row["metric"] == metric], environments)
        axis.set_xlabel(_NAMES[metric], labelpad=1)
        axis.set_ylabel("share of requests" if column == 0 else "")
        axis.set_title(name_of(cells[index]) if line % len(metrics) == 0 else "")
    handles = arm_lines(environments)
    for handle in handles:
        handle.set_marker("None")
    legend_above(figure, handles)
    return figure


def _panel(axis: Axes, rows: Sequence[Row], environments: Sequence[str]) -> None:
    for name in environments:
        mine, face = [row for row in rows if row["environment"] == name], arm_style(name)
        xs, ys = [row["value"] for row in mine], [row["quantile"] for row in mine]
        axis.plot(xs, ys, color=face.colour, linestyle=face.line, linewidth=1.2)
    axis.set_ylim(0, 1.02)
    set_names(axis.yaxis, [0, 0.5, 1], ["0.0", "0.5", "1.0"])
    plain_ticks(axis, "x", 3)
