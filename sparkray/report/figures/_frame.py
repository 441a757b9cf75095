"""Shared by all figures: sizes, panels, axes of models and of ratios, marks of arms, one legend."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sparkray.analysis.differences import COLUMNS as DIFFERENCES
from sparkray.report.cells import Cell
from sparkray.report.data import Row
from sparkray.report.figures._layout import Measured
from sparkray.report.figures._ticks import Panel, set_names
from sparkray.report.labels import arm, cell
from sparkray.report.style import BAND, BLUE, INK, ORANGE, PAGE_IN, VERMILLION, arm_style

# Keyword arguments of a matplotlib artist.
Style = dict[str, Any]
COLUMNS = 5
# Inches of a page; panels beyond it stand in the table alone.
HIGHEST_IN = 8.8
DECIDED = ("equivalent", "different")
# Colour and marker of a security grade.
GRADES = {"none": (BLUE, "o"), "weakens": (ORANGE, "s"), "dangerous": (VERMILLION, "D")}
# From this ratio of its ends an axis of ratios is logarithmic: below it a logarithmic one would have a single tick.
_WIDE = 2.3
# Ratio beyond which an axis ends; an interval that goes on ends in an arrow.
_WIDEST = 4.0
# An interval of this many times the usual length ends in an arrow too: one of two pairs must not hide the others.
_LONG = 4.0
_LONG_NAME = 22


@dataclass(frozen=True)
class Bars:
    """The bars of one arm in one panel: its rows, their places and their thickness."""

    axis: Axes
    environment: str
    rows: Sequence[Row]
    places: Sequence[float]
    thickness: float


def of_cell(rows: Sequence[Row], key: Cell) -> list[Row]:
    """Rows of one model and level."""
    return [row for row in rows if (row["model"], row["level"] or "") == key]


def name_of(key: Cell) -> str:
    """A cell's name, cut where a panel has no room for it."""
    name = cell(*key)
    return name if len(name) <= _LONG_NAME else name[: _LONG_NAME - 1] + "…"


def grid(count: int, *, height: float, columns: int = COLUMNS, width: float = PAGE_IN) -> tuple[Figure, list[Axes]]:
    """A figure with one small panel for each of `count` things, rows of `height` inches."""
    columns = min(columns, count)
    figure, axes = panels(width, -(-count // columns) * height + 0.45, -(-count // columns), columns)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def panels(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with a few panels; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=Measured())
    return figure, figure.subplots(
        rows, columns, squeeze=False, sharex=sharex, sharey=sharey, subplot_kw={"axes_class": Panel}
    ).ravel().tolist()


def named_rows(axis: Axes, names: Sequence[str], label: str = "model") -> None:
    """A y axis of names, the first on top."""
    set_names(axis.yaxis, range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_ylabel(label)


def plain_ticks(axis: Axes, side: str, count: int = 4) -> None:
    """Few ticks, without an offset."""
    (axis.xaxis if side == "x" else axis.yaxis).set_major_locator(MaxNLocator(count))
    axis.ticklabel_format(axis="x" if side == "x" else "y", useOffset=False, style="plain")


def ratio_axis(axis: Axes, low: float, high: float) -> None:
    """An x axis of ratios: logarithmic where the range is wide enough to matter, with few plain ticks."""
    wide = high / low > _WIDE
    axis.set_xscale("log" if wide else "linear")
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(
        LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)) if wide else MaxNLocator(5, steps=[1, 2, 5, 10])
    )
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def forest(axis: Axes, rows: Sequence[Row], cells: Sequence[Cell], environments: Sequence[str]) -> None:
    """Ratios with both intervals, a row a cell, the margin shaded; an arrow for what goes on beyond the axis."""
    margin = next((row["margin"] for row in rows if row["margin"]), None)
    ends = _limits(rows, margin)
    ratio_axis(axis, *ends)
    if margin is not None:
        axis.axvspan(1 / (1 + margin), 1 + margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(1.0, color=INK, linewidth=0.6, zorder=1)
    _rows(axis, rows, cells, environments, ends=ends)


def forest_of_differences(axis: Axes, rows: Sequence[Row], cells: Sequence[Cell], environments: Sequence[str]) -> None:
    """Differences likewise, in the metric's unit."""
    names = dict(zip(("ratio", "low", "high", "low90", "high90"), DIFFERENCES, strict=False))
    shown = [{**row, **{name: row[column] for name, column in names.items()}} for row in rows]
    margin = next((row["difference_margin"] for row in rows if row["difference_margin"]), 0.0)
    most = 1.08 * max(*(abs(row[end]) for row in shown for end in ("low", "high")), 1.6 * margin)
    axis.set_xlim(-most, most)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if margin:
        axis.axvspan(-margin, margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(0.0, color=INK, linewidth=0.6, zorder=1)
    _rows(axis, shown, cells, environments, ends=(-most, most))


def _rows(
    axis: Axes, rows: Sequence[Row], cells: Sequence[Cell], environments: Sequence[str], *, ends: tuple[float, float]
) -> None:
    places = {key: place for place, key in enumerate(cells)}
    for number, name in enumerate(environments):
        off = (number - (len(environments) - 1) / 2) * 0.6 / len(environments)
        mine = [row for row in rows if row["environment"] == name]
        _intervals(axis, name, mine, [places[row["model"], row["level"] or ""] + off for row in mine], ends)
    axis.hlines([place + 0.5 for place in range(len(cells) - 1)], *ends, color="#EEEEEE", linewidth=0.5, zorder=0)
    axis.set_ylim(len(cells) - 0.4, -0.6)


def _intervals(
    axis: Axes, environment: str, rows: Sequence[Row], ys: Sequence[float], ends: tuple[float, float]
) -> None:
    """Both intervals and the ratio of an environment's rows; hollow where nothing is decided."""
    face = arm_style(environment)
    for low, high, width in (("low", "high", 1.0), ("low90", "high90", 2.4)):
        lows, highs = ([row[end] for row in rows] for end in (low, high))
        axis.hlines(ys, lows, highs, color=face.colour, linewidth=width, capstyle="butt", zorder=2)
    edge: Style = {"markeredgecolor": "k", "markeredgewidth": 0.5, "markersize": 4.2, "zorder": 3, "clip_on": False}
    for fill, decided in ((face.colour, True), ("white", False)):
        shown = [(row["ratio"], y) for row, y in zip(rows, ys, strict=True) if (row["verdict"] in DECIDED) == decided]
        ratios = [min(max(ratio, ends[0]), ends[1]) for ratio, _ in shown]
        axis.plot(ratios, [y for _, y in shown], face.marker, color=fill, **edge)
    for row, y in zip(rows, ys, strict=True):
        arrows(axis, ends, (row["low"], row["high"]), y)


def arrows(axis: Axes, ends: tuple[float, float], interval: tuple[float, float], y: float) -> None:
    """Arrows at the ends of an axis that an interval leaves."""
    for end, marker, beyond in ((ends[0], "<", interval[0] < ends[0]), (ends[1], ">", interval[1] > ends[1])):
        if beyond:
            axis.plot([end], [y], marker, color="k", markersize=3, clip_on=False, zorder=4)


def _limits(rows: Sequence[Row], margin: float | None) -> tuple[float, float]:
    """Symmetric on the log scale, so that as much more and as much less look alike."""
    reach = [max(abs(math.log(end)) for end in (row["low"], row["high"])) for row in rows]
    usual = _LONG * float(np.median(reach)) if reach else 0.0
    inside = [min(one, max(usual, abs(math.log(row["ratio"])))) for one, row in zip(reach, rows, strict=True)]
    most = min(max([*inside, math.log1p(margin or 0.0) * 1.6, 1e-3]) * 1.08, math.log(_WIDEST))
    return math.exp(-most), math.exp(most)


def bars(
    rows: Sequence[Row], cells: Sequence[Cell], environments: Sequence[str], names: Mapping[str, str]
) -> tuple[Figure, list[Axes], list[Bars]]:
    """Panels of memory: a panel a model, a row a part, a bar an arm, as far as a page has room.

    Args:
        rows: With `part` and `environment`.
        cells: The models.
        environments: The arms.
        names: Of the parts, short, from top to bottom; those without a row are left out.

    Returns:
        The figure, its panels, and the bars of each arm in each panel.
    """
    parts = [part for part in names if any(row["part"] == part for row in rows)]
    height = 0.35 + 0.085 * len(parts) * (len(environments) + 0.6)
    cells = cells[: COLUMNS * max(1, int(HIGHEST_IN // height))]
    figure, axes = grid(len(cells), height=height)
    wide = 0.8 / len(environments)
    placed: list[Bars] = []
    for index, (axis, key) in enumerate(zip(axes, cells, strict=True)):
        of_panel = of_cell(rows, key)
        for number, name in enumerate(environments):
            mine = [row for row in of_panel if row["environment"] == name]
            off = (number - (len(environments) - 1) / 2) * wide
            placed.append(Bars(axis, name, mine, [parts.index(row["part"]) + off for row in mine], wide))
        first = index % min(COLUMNS, len(cells)) == 0
        if first:
            named_rows(axis, [names[part] for part in parts], "kind of memory")
        else:  # a tick takes long to draw, and stands for no name here
            axis.set_yticks([])
            axis.set_ylim(len(parts) - 0.4, -0.6)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.set_title(name_of(key))
        axis.set_xlabel("memory (GiB)" if index >= len(cells) - COLUMNS else "")
    legend_above(figure, arm_patches(environments))
    return figure, axes, placed


def arm_points(axis: Axes, environment: str, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Single runs of an arm as its marks."""
    face = arm_style(environment)
    usual: Style = {"color": face.colour, "markeredgecolor": "k", "markeredgewidth": 0.15}
    axis.plot(xs, ys, face.marker, **usual | style)


def arm_lines(environments: Sequence[str]) -> list[Line2D]:
    """Handles for a legend of arms drawn as lines or points."""
    faces = [(name, arm_style(name)) for name in environments]
    edge: Style = {"markeredgecolor": "k", "markeredgewidth": 0.4}
    return [
        Line2D([], [], color=face.colour, marker=face.marker, linestyle=face.line, label=arm(name), **edge)
        for name, face in faces
    ]


def arm_patches(environments: Sequence[str]) -> list[Patch]:
    """Handles for a legend of arms drawn as bars."""
    return [patch(arm_style(name).colour, arm_style(name).hatch, arm(name)) for name in environments]


def patch(colour: str, hatch: str, label: str) -> Patch:
    """A handle for a legend of bars."""
    return Patch(facecolor=colour, hatch=hatch, edgecolor="k", linewidth=0.4, label=label)


def grade_marks(rows: Sequence[Row], line: str) -> list[Line2D]:
    """Handles for the security grades that rows have."""
    edge: Style = {"markeredgecolor": "k", "markeredgewidth": 0.4, "linestyle": line}
    there = {row["security"] for row in rows}
    return [
        Line2D([], [], color=colour, marker=marker, label=f"security: {name}", **edge)
        for name, (colour, marker) in GRADES.items()
        if name in there
    ]


def legend_above(figure: Figure, handles: Sequence[Any], columns: int = 5, **style: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """One legend for all panels, above them."""
    ncols = min(len(handles), columns)
    figure.legend(
        handles=list(handles), loc="upper center", ncols=ncols, borderaxespad=0, **({"handlelength": 2.4} | style)
    )


def jitter(count: int, width: float) -> np.ndarray:
    """Offsets that spread points without hiding their order: the golden ratio's sequence, the same every time."""
    return (((np.arange(count) * 0.6180339887) % 1.0) - 0.5) * width
