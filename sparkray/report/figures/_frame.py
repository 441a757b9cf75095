"""What the figures share: which cells there are and in which order, grids of small panels, one legend for the arms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sparkray.analysis.text import Part, Text, enumerated
from sparkray.report.book import Book, Row
from sparkray.report.cells import Cell
from sparkray.report.labels import arm, cell
from sparkray.report.style import PAGE_IN, look

COLUMNS = 5
_WIDE = 1.6
_LONG_NAME = 22


def name_of(key: Cell) -> str:
    """A cell's name, cut where a panel has no room for it."""
    name = cell(*key)
    return name if len(name) <= _LONG_NAME else name[: _LONG_NAME - 1] + "…"


def grid(count: int, *, height: float, columns: int = COLUMNS, width: float = PAGE_IN) -> tuple[Figure, list[Axes]]:
    """A figure with one small panel for each of `count` things, rows of `height` inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, rows * height + 0.45), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def plain_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with a few panels; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel().tolist()


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


def arm_lines(environments: Sequence[str]) -> list[Line2D]:
    """Handles for a legend of arms drawn as lines or points."""
    return [
        Line2D(
            [],
            [],
            color=(face := look(name)).colour,
            marker=face.marker,
            linestyle=face.line,
            markeredgecolor="k",
            markeredgewidth=0.4,
            label=arm(name),
        )
        for name in environments
    ]


def arm_patches(environments: Sequence[str]) -> list[Patch]:
    """Handles for a legend of arms drawn as bars."""
    return [
        Patch(facecolor=look(name).colour, hatch=look(name).hatch, edgecolor="k", linewidth=0.4, label=arm(name))
        for name in environments
    ]


def legend_above(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, above them."""
    figure.legend(handles=list(handles), loc="outside upper center", ncols=min(len(handles), 5), handlelength=2.4)


def jitter(count: int, width: float) -> np.ndarray:
    """Offsets that spread points without hiding their order: the golden ratio's sequence, the same every time."""
    return (((np.arange(count) * 0.6180339887) % 1.0) - 0.5) * width


def told(book: Book, row: Row, column: str, form: str) -> Part:
    """Short for a quoted number."""
    return book.number(row, column, form)


def listed(book: Book, rows: Sequence[Row], column: str, form: str) -> Text:
    """`Alpha (1.0042) and Beta (0.9931)`: cells with a number of theirs."""
    return enumerated(
        (f"{cell(row['model'], row.get('level'))} (", book.number(row, column, form), ")") for row in rows
    )
