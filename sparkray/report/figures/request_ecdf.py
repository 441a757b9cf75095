"""The distribution of single requests: a tail that means do not show. Requests are no replicates; this is for looking."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import COLUMNS, arm_lines, legend_above, name_of
from sparkray.report.labels import arm, cell
from sparkray.report.style import PAGE_IN, look

TITLE = "Latency and time to first token, request by request"
ORDER = 60
TABLES = ("requests",)
LATENCY, TTFT = "latency_ms", "ttft_ms"
_NAMES = {TTFT: "TTFT", LATENCY: "latency"}
_MEDIAN = 0.5


def draw(book: Book) -> Drawn | NoFigure:
    """For each model a panel of latency and below it one of time to first token; a curve an arm."""
    rows = [row for row in book.rows("requests") if row["value"] is not None]
    if not rows:
        return NoFigure("no request was timed")
    cells, environments = cells_of(book, rows), arms_of(rows)
    metrics = [name for name in (LATENCY, TTFT) if any(row["metric"] == name for row in rows)]
    across = min(COLUMNS, len(cells))
    stripes = -(-len(cells) // across)
    figure = Figure(figsize=(PAGE_IN, 0.45 + 1.12 * stripes * len(metrics)), layout="constrained")
    axes = figure.subplots(stripes * len(metrics), across, squeeze=False, sharey=True)
    for index, key in enumerate(cells):
        of_cell = [row for row in rows if (row["model"], row["level"] or "") == key]
        for down, metric in enumerate(metrics):
            axis = axes[index // across * len(metrics) + down][index % across]
            _panel(axis, [row for row in of_cell if row["metric"] == metric], environments)
            axis.set_xlabel(f"{_NAMES[metric]} (ms)", labelpad=1)
            axis.set_ylabel("share of requests" if index % across == 0 else "")
        axes[index // across * len(metrics)][index % across].set_title(name_of(key))
    for place in range(len(cells), stripes * across):
        for down in range(len(metrics)):
            axes[place // across * len(metrics) + down][place % across].remove()
    handles = arm_lines(environments)
    for handle in handles:
        handle.set_marker("None")
    legend_above(figure, handles)
    return Drawn(figure, _caption(book, rows), _alt(rows))


def _panel(axis: Axes, rows: Sequence[Row], environments: Sequence[str]) -> None:
    for name in environments:
        mine = [row for row in rows if row["environment"] == name]
        face = look(name)
        axis.plot(
            [row["value"] for row in mine],
            [row["quantile"] for row in mine],
            color=face.colour,
            linestyle=face.line,
            linewidth=1.2,
        )
    axis.set_ylim(0, 1.02)
    axis.set_yticks([0, 0.5, 1])
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.ticklabel_format(axis="x", useOffset=False, style="plain")


def _medians(rows: Sequence[Row], metric: str) -> list[Row]:
    return [row for row in rows if row["metric"] == metric and abs(row["quantile"] - _MEDIAN) < 1e-9]  # noqa: PLR2004


def _caption(book: Book, rows: Sequence[Row]) -> Text:
    there = [name for name in (LATENCY, TTFT) if _medians(rows, name)]
    said = [
        say(
            "median {metric} from {low} ms ({fast}) to {high} ms ({slow})",
            metric=_NAMES[name],
            low=book.number(low := min(_medians(rows, name), key=lambda row: row["value"]), "value", "significant"),
            fast=f"{cell(low['model'], low['level'])}, {arm(low['environment'])}",
            high=book.number(high := max(_medians(rows, name), key=lambda row: row["value"]), "value", "significant"),
            slow=f"{cell(high['model'], high['level'])}, {arm(high['environment'])}",
        )
        for name in there
    ]
    return say(
        "Requests of all runs that count, pooled: {said}. Requests inside a run are observations, not replicates.",
        said=enumerated(said) if said else "no median",
    )


def _alt(rows: Sequence[Row]) -> str:
    said = [
        f"{cell(row['model'], row['level'])}, {arm(row['environment'])}: median {row['value']:.4g} ms"
        for row in _medians(rows, LATENCY)
    ]
    return f"Cumulative distributions of requests, curves of the arms over each other. Latency: {'; '.join(said)}."
