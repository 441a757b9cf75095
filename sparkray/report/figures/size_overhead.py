"""The ratio over model size, with the regression's line and its band: does the cost of the container grow or shrink?"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, primary_metrics
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, legend_above, plain_figure
from sparkray.report.labels import arm, cell, metric_name
from sparkray.report.style import BAND, COLUMN_IN, INK, look

TITLE = "The ratio over model size"
ORDER = 80
TABLES = ("size",)
_PANELS = 3
_POINTS = 40


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a primary metric; a point a model, at its parameters; the line through them, at one level of the load each."""
    metrics = primary_metrics(book)[:_PANELS]
    rows = [
        row
        for row in book.rows("size", group_by="size")
        if row["params_b"] is not None and row["ratio"] is not None and row["metric"] in metrics
    ]
    metrics = [metric for metric in metrics if any(row["metric"] == metric for row in rows)]
    if not rows:
        return NoFigure("no model with a known number of parameters has a ratio")
    environments = arms_of(rows)
    figure, axes = plain_figure(COLUMN_IN, 0.6 + 1.25 * len(metrics), len(metrics), 1, sharex=True)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, [row for row in rows if row["metric"] == metric], environments)
        for row in book.rows("size", group_by="slope", metric=metric):
            if row["slope"] is not None:
                _line(axis, row, rows)
        margin = next((row["margin"] for row in book.rows("comparisons", metric=metric) if row["margin"]), None)
        if margin is not None:
            axis.axhspan(1 / (1 + margin), 1 + margin, color=BAND, zorder=0, linewidth=0)
        axis.set_ylabel(f"ratio, {metric_name(metric)}".replace(" of ", "\nof "))
    axes[-1].set_xlabel("parameters (10⁹, logarithmic)")
    legend_above(figure, arm_lines(environments))
    return Drawn(figure, _caption(book, metrics), _alt(rows))


def _panel(axis: Axes, rows: Sequence[Row], environments: Sequence[str]) -> None:
    axis.set_xscale("log")
    for place, name in enumerate(environments):
        face = look(name)
        for row in (row for row in rows if row["environment"] == name):
            x = row["params_b"] * 1.05 ** (place - (len(environments) - 1) / 2)
            if row["low"] is not None:
                axis.plot([x, x], [row["low"], row["high"]], color=face.colour, linewidth=1.0)
            axis.plot([x], [row["ratio"]], face.marker, color=face.colour, markeredgecolor="k", markeredgewidth=0.4)
    axis.axhline(1.0, color=INK, linewidth=0.5)
    sizes = [row["params_b"] for row in rows]
    axis.set_xlim(min(sizes) / 1.4, max(sizes) * 1.4)
    ticks = [
        tick
        for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
        if min(sizes) / 1.4 <= tick <= max(sizes) * 1.4
    ]
    axis.set_xticks(ticks or [min(sizes)])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.ticklabel_format(axis="y", useOffset=False)


def _line(axis: Axes, row: Row, sized: Sequence[Row]) -> None:
    """The line and its 95 % band: in the middle of the sizes height and slope are independent, so halves add as squares."""
    face = look(row["environment"])
    mine = [
        one["params_b"] for one in sized if (one["environment"], one["level"]) == (row["environment"], row["level"])
    ]
    x = np.geomspace(min(mine), max(mine), _POINTS)
    away = np.log10(x / row["params_b"])
    height = math.log(row["ratio"]) + row["slope"] * away
    half_height, half_slope = math.log(row["high"] / row["ratio"]), row["slope_high"] - row["slope"]
    half = np.sqrt(half_height**2 + (half_slope * away) ** 2)
    axis.plot(x, np.exp(height), color=face.colour, linestyle=face.line, linewidth=0.9, zorder=1)
    axis.fill_between(
        x, np.exp(height - half), np.exp(height + half), color=face.colour, alpha=0.15, linewidth=0, zorder=0.5
    )


def _caption(book: Book, metrics: Sequence[str]) -> Text:
    slopes = [
        row for row in book.rows("size", group_by="slope") if row["metric"] in metrics and row["slope"] is not None
    ]
    if not slopes:
        lost = next(iter(book.rows("size", group_by="slope")), None)
        why = book.linked(lost["not_estimable"], lost["trace"]) if lost else ()
        return say("There is no slope{why}.", why=say(": {why}", why=why) if why else "")
    return say(
        "Lines with their {confidence} bands. Change of the logarithm of the ratio when parameters grow tenfold, over {n} "
        "models: {said}.",
        confidence=book.constant("confidence"),
        n=book.number(slopes[0], "n_models", "count"),
        said=enumerated((_slope(book, row) for row in slopes), "and"),
    )


def _slope(book: Book, row: Row) -> Text:
    clear = "excludes zero" if row["slope_low"] > 0 or row["slope_high"] < 0 else "holds zero"
    return say(
        "{name}, {arm}, {slope} ({low} to {high}: {clear})",
        name=metric_name(row["metric"]),
        arm=cell(arm(row["environment"]), row["level"]),
        slope=book.number(row, "slope", "slope"),
        low=book.number(row, "slope_low", "slope"),
        high=book.number(row, "slope_high", "slope"),
        clear=clear,
    )


def _alt(rows: Sequence[Row]) -> str:
    ends = sorted(rows, key=lambda row: row["params_b"])
    said = "; ".join(
        f"{row['group']} ({row['params_b']:.3g} billion), {metric_name(row['metric'])}: {row['ratio']:.4f}"
        for row in ends
        if math.isfinite(row["ratio"])
    )
    return f"Ratios over the number of parameters. {said}."
