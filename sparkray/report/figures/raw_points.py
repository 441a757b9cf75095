"""Every run as a point, with a box for each arm: nothing is hidden behind a mean."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import Cell, arms_of, cells_of, primary_metrics
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, jitter, legend_above, listed, name_of
from sparkray.report.labels import axis_label, metric_name
from sparkray.report.style import PAGE_IN, look

TITLE = "Every run"
ORDER = 20
TABLES = ("runs",)
_METRICS = 3


def draw(book: Book) -> Drawn | NoFigure:
    """A row of panels a model, a column a primary metric; arms above each other on an axis of their own."""
    runs = book.rows("runs")
    metrics = [m for m in primary_metrics(book)[:_METRICS] if any(row.get(m) is not None for row in runs)]
    if not metrics:
        return NoFigure("no run that counts has a value of a primary metric")
    cells, environments = cells_of(book, runs), arms_of(runs)
    each = 0.16 + 0.17 * len(environments)
    layout = ConstrainedLayoutEngine(h_pad=0.01, hspace=0.0, wspace=0.03)
    figure = Figure(figsize=(PAGE_IN, 0.75 + (each + 0.17) * len(cells)), layout=layout)
    axes = figure.subplots(len(cells), len(metrics), squeeze=False)
    for down, key in enumerate(cells):
        of_cell = [row for row in runs if (row["model"], row["level"] or "") == key]
        for across, metric in enumerate(metrics):
            _panel(axes[down][across], of_cell, metric, environments)
        axes[down][0].set_yticks([(len(environments) - 1) / 2], [name_of(key)])
        axes[down][0].tick_params(axis="y", length=0, labelsize=7)
    for across, metric in enumerate(metrics):
        axes[-1][across].set_xlabel(axis_label(metric))
    figure.supylabel("model", fontsize=7)
    legend_above(figure, arm_lines(environments))
    return Drawn(figure, _caption(book, metrics[0]), _alt(cells, metrics))


def _panel(axis: Axes, runs: Sequence[Row], metric: str, environments: Sequence[str]) -> None:
    for place, environment in enumerate(environments):
        values = [row[metric] for row in runs if row["environment"] == environment and row[metric] is not None]
        if not values:
            continue
        face = look(environment)
        axis.boxplot(
            [values],
            positions=[place],
            orientation="horizontal",
            widths=0.62,
            showfliers=False,
            manage_ticks=False,
            medianprops={"color": "k", "linewidth": 1.0},
            boxprops={"linewidth": 0.5},
            whiskerprops={"linewidth": 0.5},
            capprops={"linewidth": 0.5},
        )
        axis.plot(
            values,
            place + jitter(len(values), 0.5),
            face.marker,
            color=face.colour,
            markersize=2.0,
            markeredgecolor="k",
            markeredgewidth=0.15,
            alpha=0.85,
            zorder=3,
        )
    axis.set_ylim(len(environments) - 0.4, -0.6)
    axis.set_yticks([])
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.ticklabel_format(axis="x", useOffset=False, style="plain")
    axis.tick_params(axis="x", pad=1, labelsize=5.5)


def _caption(book: Book, metric: str) -> Text:
    described = [row for row in book.rows("descriptive", metric=metric) if row["cv_pct"] is not None]
    first = say("Each point is one run, a fresh start of the engine; {n} runs count.", n=book.count("runs"))
    if not described:
        return first
    widest = max(described, key=lambda row: row["cv_pct"])
    calmest = min(described, key=lambda row: row["cv_pct"])
    return sentences(
        first,
        say(
            "The coefficient of variation of the {metric} lies between {low} and {high}.",
            metric=metric_name(metric),
            low=listed(book, [calmest], "cv_pct", "per_cent"),
            high=listed(book, [widest], "cv_pct", "per_cent"),
        ),
    )


def _alt(cells: Sequence[Cell], metrics: Sequence[str]) -> str:
    names = ", ".join(map(metric_name, metrics))
    return (
        f"Strips of points with boxes, one row for each of {len(cells)} models, one column for each of {names}; medians and "
        "quartiles stand in the table of descriptive statistics."
    )
