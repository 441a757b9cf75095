"""A line from arm to arm for each block: what pairing sees, and what a mean would hide."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of, first_metric
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import COLUMNS, arm_points, grid, name_of, of_cell, plain_ticks
from sparkray.report.figures._ticks import set_names
from sparkray.report.labels import arm, arm_tiny, axis_label

ORDER = 30
TABLES = ("runs",)
# As many environments and models as have room for their full names.
_FULL_NAMES = 2, 3


def draw(data: ReportData) -> Figure | None:
    """A panel a model: the first primary metric in every block, arm by arm."""
    metric = first_metric(data)
    runs = [row for row in data.rows("runs") if metric is not None and row[metric] is not None]
    environments = arms_of(runs)
    if metric is None or len(environments) < 2:  # noqa: PLR2004 - a slope has two ends
        return None
    cells = cells_of(data, runs)
    figure, axes = grid(len(cells), height=1.35)
    full = len(environments) <= _FULL_NAMES[0] and len(cells) <= _FULL_NAMES[1]
    for index, (axis, key) in enumerate(zip(axes, cells, strict=True)):
        _panel(axis, of_cell(runs, key), metric, environments)
        axis.set_title(name_of(key))
        set_names(
            axis.xaxis, range(len(environments)), [arm(name) if full else arm_tiny(name) for name in environments]
        )
        axis.set_xlabel("environment" if index >= len(axes) - COLUMNS else "")
    figure.supylabel(axis_label(metric), fontsize=7)
    return figure


def _panel(axis: Axes, runs: Sequence[Row], metric: str, environments: Sequence[str]) -> None:
    blocks: dict[int, dict[str, float]] = {}
    for row in runs:
        blocks.setdefault(row["block"], {})[row["environment"]] = row[metric]
    lines = [
        [(place, block[name]) for place, name in enumerate(environments) if name in block] for block in blocks.values()
    ]
    axis.add_collection(LineCollection(lines, colors="#999999", linewidths=0.5, zorder=1))
    for place, name in enumerate(environments):
        values = [block[name] for block in blocks.values() if name in block]
        arm_points(axis, name, [place] * len(values), values, markersize=2.2, markeredgewidth=0, zorder=2)
        if values:
            arm_points(axis, name, [place], [median(values)], markersize=5, markeredgewidth=0.6, zorder=3)
    axis.set_xlim(-0.4, len(environments) - 0.6)
    plain_ticks(axis, "y")
