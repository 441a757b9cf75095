"""Every run as a point, with a box for each arm: nothing is hidden behind a mean."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of, primary_metrics
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import (
    arm_lines,
    arm_points,
    jitter,
    legend_above,
    name_of,
    of_cell,
    plain_ticks,
)
from sparkray.report.figures._layout import Measured
from sparkray.report.figures._ticks import Panel, set_names
from sparkray.report.labels import axis_label
from sparkray.report.style import PAGE_IN

ORDER = 20
TABLES = ("runs",)
_METRICS = 3
_HALF = 0.31


def draw(data: ReportData) -> Figure | None:
    """A row of panels a model, a column a primary metric; arms above each other on an axis of their own."""
    runs = data.rows("runs")
    metrics = [m for m in primary_metrics(data)[:_METRICS] if any(row.get(m) is not None for row in runs)]
    if not metrics:
        return None
    cells, environments = cells_of(data, runs), arms_of(runs)
    each = 0.16 + 0.17 * len(environments)
    figure = Figure(figsize=(PAGE_IN, 0.75 + (each + 0.17) * len(cells)), layout=Measured(between=2.0))
    axes = figure.subplots(len(cells), len(metrics), squeeze=False, subplot_kw={"axes_class": Panel})
    for down, key in enumerate(cells):
        for across, metric in enumerate(metrics):
            _panel(axes[down][across], of_cell(runs, key), metric, environments)
        set_names(axes[down][0].yaxis, [(len(environments) - 1) / 2], [name_of(key)])
        axes[down][0].tick_params(axis="y", length=0, labelsize=7)
    for across, metric in enumerate(metrics):
        axes[-1][across].set_xlabel(axis_label(metric))
    figure.supylabel("model", fontsize=7)
    legend_above(figure, arm_lines(environments))
    return figure


def _panel(axis: Axes, runs: Sequence[Row], metric: str, environments: Sequence[str]) -> None:
    measured: dict[int, list[float]] = {}
    for place, environment in enumerate(environments):
        values = [row[metric] for row in runs if row["environment"] == environment and row[metric] is not None]
        if values:
            measured[place] = values
            ys = place + jitter(len(values), 0.5)
            arm_points(axis, environment, values, ys.tolist(), markersize=2.0, alpha=0.85, zorder=3)
    _boxes(axis, measured)
    axis.set_ylim(len(environments) - 0.4, -0.6)
    axis.set_yticks([])
    plain_ticks(axis, "x")
    axis.tick_params(axis="x", pad=1, labelsize=5.5)


def _boxes(axis: Axes, measured: Mapping[int, Sequence[float]]) -> None:
    """Boxes without outliers, which are points already: as `Axes.boxplot` draws them, in two artists a panel."""
    edges: list[list[tuple[float, float]]] = []
    medians: list[list[tuple[float, float]]] = []
    for place, found in zip(measured, boxplot_stats(list(measured.values())), strict=True):
        low, high, half = place - _HALF, place + _HALF, _HALF / 2
        q1, q3 = found["q1"], found["q3"]
        edges.append([(q1, low), (q3, low), (q3, high), (q1, high), (q1, low)])
        for quartile, end in ((q1, found["whislo"]), (q3, found["whishi"])):
            edges += [[(quartile, place), (end, place)], [(end, place - half), (end, place + half)]]
        medians.append([(found["med"], low), (found["med"], high)])
    for lines, width in ((edges, 0.5), (medians, 1.0)):
        axis.add_collection(LineCollection(lines, colors="k", linewidths=width, zorder=2))
