"""A line from arm to arm for each block: what pairing sees, and what a mean would hide."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of, first_metric
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import grid, name_of
from sparkray.report.labels import arm, arm_tiny, axis_label, metric_name
from sparkray.report.style import look

TITLE = "Block by block"
ORDER = 30
TABLES = ("runs",)
_FULL_NAMES = 2


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a model: the first primary metric in every block, arm by arm."""
    metric = first_metric(book)
    runs = [row for row in book.rows("runs") if metric is not None and row[metric] is not None]
    environments = arms_of(runs)
    if metric is None or len(environments) < 2:  # noqa: PLR2004 - a slope has two ends
        return NoFigure("there are no two environments with runs that count")
    cells = cells_of(book, runs)
    figure, axes = grid(len(cells), height=1.35)
    for axis, key in zip(axes, cells, strict=True):
        _panel(axis, [row for row in runs if (row["model"], row["level"] or "") == key], metric, environments)
        axis.set_title(name_of(key))
    short = len(environments) > _FULL_NAMES or len(cells) > 3  # noqa: PLR2004 - as many names as fit
    for index, axis in enumerate(axes):
        names = [arm_tiny(name) if short else arm(name) for name in environments]
        axis.set_xticks(range(len(environments)), names)
        axis.set_xlabel("environment" if index >= len(axes) - 5 else "")
    figure.supylabel(axis_label(metric), fontsize=7)
    for axis in axes:
        axis.set_ylabel("")
    said = " ".join(row["sentence"] or "" for row in book.rows("comparisons", metric=metric))
    return Drawn(
        figure, _caption(book, metric), f"Small panels, one a model; thin lines join the runs of a block. {said}"
    )


def _panel(axis: Axes, runs: Sequence[Row], metric: str, environments: Sequence[str]) -> None:
    blocks: dict[int, dict[str, float]] = {}
    for row in runs:
        blocks.setdefault(row["block"], {})[row["environment"]] = row[metric]
    for block in blocks.values():
        there = [place for place, name in enumerate(environments) if name in block]
        axis.plot(there, [block[environments[place]] for place in there], color="#999999", linewidth=0.5, zorder=1)
    for place, name in enumerate(environments):
        values = [block[name] for block in blocks.values() if name in block]
        face = look(name)
        axis.plot(
            [place] * len(values), values, face.marker, color=face.colour, markersize=2.2, markeredgewidth=0, zorder=2
        )
        if values:
            axis.plot(
                [place],
                [median(values)],
                face.marker,
                color=face.colour,
                markersize=5,
                markeredgecolor="k",
                markeredgewidth=0.6,
                zorder=3,
            )
    axis.set_xlim(-0.4, len(environments) - 0.6)
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.ticklabel_format(axis="y", useOffset=False, style="plain")


def _caption(book: Book, metric: str) -> Text:
    rows = [row for row in book.rows("comparisons", metric=metric) if row["n"]]
    return say(
        "Thin lines join the runs of one block, large marks are the medians of {metric}; {which}: {pairs}.",
        metric=metric_name(metric),
        which="all blocks are drawn, pairs of the last look" if book.looked else "complete pairs",
        pairs=enumerated(
            say(
                "{n} ({model}{more})",
                n=book.number(row, "n", "count"),
                model=row["model"],
                more=f" {row['level']}" if row["level"] else "",
            )
            for row in rows
        )
        or "none",
    )
