"""Memory of each arm, part upon part: what explains the drop of available memory, and what page cache adds to it."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.derived.memory_split import AVAILABLE, PARTS, UNEXPLAINED
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import COLUMNS, arm_patches, grid, legend_above, name_of
from sparkray.report.labels import arm, cell
from sparkray.report.style import look

TITLE = "Memory of each arm, part upon part"
ORDER = 51
TABLES = ("memory_split",)
_SHORT = dict(
    zip(
        PARTS,
        ("GPU, process", "process, PSS", "not explained", "= available, drop", "page cache", "= free, drop"),
        strict=True,
    )
)
_HIGHEST = 8.8
"""Inches of a page; panels beyond it stand in the table alone."""


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a model; a row a part, which begins where the one above ends; a bar an arm."""
    rows = book.rows("memory_split")
    if not rows:
        return NoFigure("no drop of available memory was measured")
    cells, environments = cells_of(book, rows), arms_of(rows)
    parts = [part for part in PARTS if any(row["part"] == part for row in rows)]
    height = 0.35 + 0.085 * len(parts) * (len(environments) + 0.6)
    cells = cells[: COLUMNS * max(1, int(_HIGHEST // height))]
    figure, axes = grid(len(cells), height=height)
    for index, (axis, key) in enumerate(zip(axes, cells, strict=True)):
        _panel(axis, [row for row in rows if (row["model"], row["level"] or "") == key], parts, environments)
        axis.set_title(name_of(key))
        first = index % min(COLUMNS, len(cells)) == 0
        axis.set_yticks(range(len(parts)), [_SHORT[part] for part in parts] if first else [""] * len(parts))
        axis.set_ylabel("kind of memory" if first else "")
        axis.set_xlabel("memory (GiB)" if index >= len(cells) - COLUMNS else "")
    legend_above(figure, arm_patches(environments))
    return Drawn(figure, _caption(book, rows), _alt(rows))


def _panel(axis: Axes, rows: Sequence[Row], parts: Sequence[str], environments: Sequence[str]) -> None:
    wide = 0.8 / len(environments)
    for row in rows:
        place = parts.index(row["part"]) + (environments.index(row["environment"]) - (len(environments) - 1) / 2) * wide
        face = look(row["environment"])
        colour, line = (face.colour, 0.3) if row["value_gib"] >= 0 else ("white", 0.8)
        axis.barh(
            place,
            row["value_gib"],
            wide,
            left=row["begin_gib"],
            color=colour,
            hatch=face.hatch,
            edgecolor="k" if row["value_gib"] >= 0 else face.colour,
            linewidth=line,
        )
    most = max(max(row["begin_gib"], row["begin_gib"] + row["value_gib"]) for row in rows)
    axis.set_xlim(min(0.0, *(row["begin_gib"] + row["value_gib"] for row in rows)), most * 1.04)
    axis.axvline(0, color="#777777", linewidth=0.4)
    axis.set_ylim(len(parts) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(3))


def _caption(book: Book, rows: Sequence[Row]) -> Text:
    left = [row for row in rows if row["part"] == UNEXPLAINED]
    least, most = min(left, key=lambda row: row["value_gib"]), max(left, key=lambda row: row["value_gib"])

    def told(row: Row) -> Text:
        return say(
            "{value} GiB ({model}, {arm})",
            value=book.number(row, "value_gib", "significant"),
            model=cell(row["model"], row["level"]),
            arm=arm(row["environment"]),
        )

    how = (
        "Means of peaks. A part begins where the one above it ends; their sum with what is not explained is the drop of "
        "available memory, and page cache leads from there to the drop of free memory."
    )
    return sentences(
        (how,),
        say("What the known parts do not explain lies between {least} and {most}.", least=told(least), most=told(most)),
        ("Below zero, drawn hollow: peaks do not fall together, or mapped files count as memory of the process.",),
    )


def _alt(rows: Sequence[Row]) -> str:
    said = "; ".join(
        f"{cell(row['model'], row['level'])}, {arm(row['environment'])}, {PARTS[row['part']]}: {row['value_gib']:.3g} GiB"
        for row in rows
        if row["part"] in (AVAILABLE, UNEXPLAINED)
    )
    return f"Bars of memory, one upon the other, arm beside arm. {said}."
