"""The ratio over model size, with the regression's line and its band: does the cost of the container grow or shrink?"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sparkray.report.cells import arms_of, primary_metrics
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import Style, arm_lines, legend_above, panels
from sparkray.report.labels import metric_name
from sparkray.report.style import BAND, COLUMN_IN, INK, arm_style

ORDER = 80
TABLES = ("size",)
_PANELS = 3
_POINTS = 40
_ROOM = 1.4
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def draw(data: ReportData) -> Figure | None:
    """A panel a primary metric; a point a model, at its parameters; the line through them, at one level of the load each."""
    rows = [row for row in data.rows("size", group_by="size") if None not in (row["params_b"], row["ratio"])]
    metrics = [name for name in primary_metrics(data)[:_PANELS] if any(row["metric"] == name for row in rows)]
    if not metrics:
        return None
    environments = arms_of(rows)
    figure, axes = panels(COLUMN_IN, 0.6 + 1.25 * len(metrics), len(metrics), 1, sharex=True)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, [row for row in rows if row["metric"] == metric], environments)
        for row in data.rows("size", group_by="slope", metric=metric):
            if row["slope"] is not None:
                _line(axis, row, rows)
        margin = next((row["margin"] for row in data.rows("comparisons", metric=metric) if row["margin"]), None)
        if margin is not None:
            axis.axhspan(1 / (1 + margin), 1 + margin, color=BAND, zorder=0, linewidth=0)
        axis.set_ylabel(f"ratio, {metric_name(metric)}".replace(" of ", "\nof "))
    axes[-1].set_xlabel("parameters (10⁹, logarithmic)")
    legend_above(figure, arm_lines(environments))
    return figure


def _panel(axis: Axes, rows: Sequence[Row], environments: Sequence[str]) -> None:
    axis.set_xscale("log")
    for place, name in enumerate(environments):
        face = arm_style(name)
        for row in (row for row in rows if row["environment"] == name):
            x = row["params_b"] * 1.05 ** (place - (len(environments) - 1) / 2)
            if row["low"] is not None:
                axis.plot([x, x], [row["low"], row["high"]], color=face.colour, linewidth=1.0)
            axis.plot([x], [row["ratio"]], face.marker, color=face.colour, markeredgecolor="k", markeredgewidth=0.4)
    axis.axhline(1.0, color=INK, linewidth=0.5)
    sizes = [row["params_b"] for row in rows]
    low, high = min(sizes) / _ROOM, max(sizes) * _ROOM
    axis.set_xlim(low, high)
    axis.set_xticks([tick for tick in _TICKS if low <= tick <= high] or [min(sizes)])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.ticklabel_format(axis="y", useOffset=False)


def _line(axis: Axes, row: Row, sized: Sequence[Row]) -> None:
    """The line and its 95 % band: in the middle of the sizes height and slope are independent, so halves add as squares."""
    face, where = arm_style(row["environment"]), (row["environment"], row["level"])
    mine = [one["params_b"] for one in sized if (one["environment"], one["level"]) == where]
    x = np.geomspace(min(mine), max(mine), _POINTS)
    away = np.log10(x / row["params_b"])
    height = math.log(row["ratio"]) + row["slope"] * away
    half = np.hypot(math.log(row["high"] / row["ratio"]), (row["slope_high"] - row["slope"]) * away)
    axis.plot(x, np.exp(height), color=face.colour, linestyle=face.line, linewidth=0.9, zorder=1)
    band: Style = {"color": face.colour, "alpha": 0.15, "linewidth": 0, "zorder": 0.5}
    axis.fill_between(x, np.exp(height - half), np.exp(height + half), **band)
