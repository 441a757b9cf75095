"""What drawings of memory share: a panel a model, a row a part, a bar an arm."""

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.figures._frame import COLUMNS, arm_patches, grid, legend_above, name_of

Bar = Callable[[Axes, Row, float, float], None]
"""Draws one row of the table: axis, row, its place down the axis, its thickness."""
_HIGHEST = 8.8
"""Inches of a page; panels beyond it stand in the table alone."""


def panels(book: Book, rows: Sequence[Row], names: Mapping[str, str], bar: Bar) -> tuple[Figure, list[Axes]]:
    """The panels of every model, as far as a page has room.

    Args:
        book: The report's.
        rows: With `part` and `environment`.
        names: Of the parts, short, in the order from top to bottom; those without a row are left out.
        bar: Draws one row.
    """
    cells, environments = cells_of(book, rows), arms_of(rows)
    parts = [part for part in names if any(row["part"] == part for row in rows)]
    height = 0.35 + 0.085 * len(parts) * (len(environments) + 0.6)
    cells = cells[: COLUMNS * max(1, int(_HIGHEST // height))]
    figure, axes = grid(len(cells), height=height)
    wide = 0.8 / len(environments)
    for index, (axis, key) in enumerate(zip(axes, cells, strict=True)):
        for row in rows:
            if (row["model"], row["level"] or "") == key:
                off = (environments.index(row["environment"]) - (len(environments) - 1) / 2) * wide
                bar(axis, row, parts.index(row["part"]) + off, wide)
        axis.set_ylim(len(parts) - 0.4, -0.6)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.set_title(name_of(key))
        first = index % min(COLUMNS, len(cells)) == 0
        axis.set_yticks(range(len(parts)), [names[part] for part in parts] if first else [""] * len(parts))
        axis.set_ylabel("kind of memory" if first else "")
        axis.set_xlabel("memory (GiB)" if index >= len(cells) - COLUMNS else "")
    legend_above(figure, arm_patches(environments))
    return figure, axes
