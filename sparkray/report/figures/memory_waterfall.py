"""Memory of each arm, part upon part: what explains the drop of available memory, and what page cache adds to it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sparkray.analysis.derived.memory_split import AVAILABLE, PARTS, UNEXPLAINED
from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._memory import panels
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


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a model; a row a part, which begins where the one above ends; a bar an arm."""
    rows = book.rows("memory_split")
    if not rows:
        return NoFigure("no drop of available memory was measured")
    figure, axes = panels(book, rows, _SHORT, _bar)
    for axis in axes:
        low, high = axis.dataLim.intervalx
        axis.set_xlim(min(0.0, low), high * 1.04)
        axis.axvline(0, color="#777777", linewidth=0.4)
    return Drawn(figure, _caption(book, rows), _alt(rows))


def _bar(axis: Axes, row: Row, place: float, wide: float) -> None:
    """What is below zero is hollow."""
    face, below = look(row["environment"]), row["value_gib"] < 0
    axis.barh(
        place,
        row["value_gib"],
        wide,
        left=row["begin_gib"],
        color="white" if below else face.colour,
        hatch=face.hatch,
        edgecolor=face.colour if below else "k",
        linewidth=0.8 if below else 0.3,
    )


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
        f"{cell(row['model'], row['level'])}, {arm(row['environment'])}, {_SHORT[row['part']]}: {row['value_gib']:.3g} GiB"
        for row in rows
        if row["part"] in (AVAILABLE, UNEXPLAINED)
    )
    return f"Bars of memory, one upon the other, arm beside arm. {said}."
