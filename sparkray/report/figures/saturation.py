"""Throughput over the requests in flight, for each arm: from which load does it no longer rise?"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sparkray.analysis.derived.load import THROUGHPUT, size_of
from sparkray.report.cells import arms_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import arm_lines, grid, legend_above, plain_ticks
from sparkray.report.figures._ticks import set_names
from sparkray.report.style import COLUMN_IN, INK, PAGE_IN, arm_style

ORDER = 85
TABLES = ("descriptive", "load", "knee")
_LEAST_LOADS = 2
_APART = 1.03
"""Factor between two arms at one load, so that neither hides the other's interval."""


def draw(data: ReportData) -> Figure | None:
    """A panel for each model that has several levels of the load."""
    rows = [row for row in data.rows("descriptive", metric=THROUGHPUT) if row["mean"] is not None]
    loads = {model: sorted({_load(row) for row in rows if row["model"] == model} - {0}) for model in _models(rows)}
    models = [model for model, steps in loads.items() if len(steps) >= _LEAST_LOADS]
    if not models:
        return None
    figure, axes = grid(len(models), height=1.9, columns=3, width=COLUMN_IN if len(models) == 1 else PAGE_IN)
    environments = arms_of(row for row in rows if row["model"] in models)
    handles = arm_lines(environments)
    for axis, model in zip(axes, models, strict=True):
        _panel(axis, [row for row in rows if row["model"] == model and _load(row)], environments)
        knees = [row for row in data.rows("knee", model=model) if row["code"] == "estimated"]
        if knees:
            _knees(axis, knees, environments)
            handles = [*arm_lines(environments), Line2D([], [], color=INK, linestyle=":", label="knee")]
        else:
            _rings(axis, {row["environment"]: row for row in data.rows("load", model=model)}, environments)
        axis.set_title(model)
        set_names(axis.xaxis, loads[model], [f"{load}" for load in loads[model]])
        axis.set_xlabel("requests in flight (number)")
    axes[0].set_ylabel("output throughput (tok/s)")
    legend_above(figure, handles)
    return figure


def _models(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def _load(row: Row) -> int:
    """Requests in flight; 0 for a level that does not say."""
    return size_of(row["level"] or "")[0]


def _beside(load: int, environment: str, environments: Sequence[str]) -> float:
    return float(load * _APART ** (environments.index(environment) - (len(environments) - 1) / 2))


def _panel(axis: Axes, rows: Sequence[Row], environments: Sequence[str]) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    for name in environments:
        face, mine = arm_style(name), sorted((row for row in rows if row["environment"] == name), key=_load)
        places = [_beside(_load(row), name, environments) for row in mine]
        axis.plot(places, [row["mean"] for row in mine], face.marker, color=face.colour, linestyle=face.line)
        for place, row in zip(places, mine, strict=True):
            if row["mean_low"] is not None:
                axis.plot([place, place], [row["mean_low"], row["mean_high"]], color=face.colour, linewidth=0.8)
    axis.set_ylim(0, 1.1 * max(row["mean_high"] or row["mean"] for row in rows))
    plain_ticks(axis, "y")


def _knees(axis: Axes, knees: Sequence[Row], environments: Sequence[str]) -> None:
    """Each arm's knee at the foot of the panel, with its interval, and a line from there up to its capacity."""
    top, edge = axis.get_ylim()[1], axis.get_xlim()[1]
    for row in knees:
        face, height = arm_style(row["environment"]), top * (0.04 + 0.05 * environments.index(row["environment"]))
        high = row["load_high"]
        axis.plot([row["load"]] * 2, [height, row["capacity_tok_s"]], color=face.colour, linewidth=0.6, linestyle=":")
        axis.plot([row["load_low"], edge if high is None else high], [height] * 2, color=face.colour, linewidth=1.6)
        axis.plot([row["load"]], [height], face.marker, color=face.colour, markeredgecolor="k", markeredgewidth=0.4)
        if high is None:
            axis.plot([edge], [height], ">", color="k", markersize=3, clip_on=False)
    axis.set_xlim(right=edge)


def _rings(axis: Axes, chosen: Mapping[str, Row], environments: Sequence[str]) -> None:
    """A ring around the load to take, where throughput stops rising within what was measured."""
    for name, row in chosen.items():
        if name in environments and _load(row) and not row["at_largest"]:
            place = _beside(_load(row), name, environments)
            axis.plot([place], [row["throughput_tok_s"]], "o", markersize=9, markerfacecolor="none", color=INK)
