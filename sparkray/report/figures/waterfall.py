"""Where a difference comes from: layer upon layer from the first environment to the last, and what no layer explains.

It is drawn from the table `derived.attribution`, which a book has only where a ladder was climbed.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.config.isolation import LAYER_TITLES
from sparkray.report.book import Book, Row
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import grid, legend_above
from sparkray.report.labels import arm, axis_label, metric_name
from sparkray.report.style import BLACK, BLUE, ORANGE, PAGE_IN
from sparkray.schema import unit_of

TITLE = "Where the difference comes from"
ORDER = 55
TABLES = ("attribution",)
_TABLE = "attribution"
_COLUMNS = 2
_HIGHEST = 8.8
"""Inches of a page; panels beyond it stand in the table alone."""
_SHOWN, _NOT_SHOWN, _WHOLE = (BLUE, ""), ("#FFFFFF", ""), (ORANGE, "///")
_KEY = (
    "Each bar begins where the one before ends; its line is the confidence interval of its own length. A diamond is what "
    "the container gives back when that layer is taken from it."
)
_NAMES = {"chroot": "chroot, image's files", "ipc": "IPC and /dev/shm", "masked-paths": "masked paths"}


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a model: a bar a layer, each beginning where the one before ends; then the rest, and the whole."""
    totals = [row for row in book.rows(_TABLE, role="total") if row["value"] is not None]
    if not totals:
        return NoFigure("no ladder was climbed from the host to the container, or too few blocks of it are complete")
    panels = [(total, _parts(book, total)) for total in totals]
    height = max(1.6, 0.5 + 0.15 * max(len(parts) for _, parts in panels))
    panels = panels[: _COLUMNS * max(1, int(_HIGHEST // height))]
    totals = [total for total, _ in panels]
    figure, axes = grid(len(panels), height=height, columns=_COLUMNS, width=PAGE_IN)
    for index, (axis, (total, parts)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, total, parts, book.rows(_TABLE, model=total["model"], metric=total["metric"], direction="leave"))
        axis.set_title(f"{total['model']}: {metric_name(total['metric'])}")
        axis.set_ylabel("" if index % _COLUMNS else "layer (one added at a time)")
    legend_above(figure, _handles())
    return Drawn(figure, _caption(book, totals), _alt(totals, panels))


def _parts(book: Book, total: Row) -> list[Row]:
    """The way to the chroot, the layers added, the residual; those that have a number."""
    mine = book.rows(_TABLE, model=total["model"], metric=total["metric"])
    steps = [row for row in mine if row["role"] == "step" and row["direction"] in ("start", "add")]
    rest = [row for row in mine if row["role"] == "residual" and row["direction"] == "add"]
    return [row for row in (*steps, *rest) if row["value"] is not None]


def _panel(axis: Axes, total: Row, parts: Sequence[Row], left: Sequence[Row]) -> None:
    begin = 0.0
    beside = {row["layer"]: row["value"] for row in left if row["role"] == "step" and row["value"] is not None}
    for place, row in enumerate(parts):
        _bar(axis, row, place, begin)
        if row["layer"] in beside:
            axis.plot([begin + beside[row["layer"]]], [place], "D", color="none", markeredgecolor=BLACK, markersize=3)
        begin += row["value"]
        axis.plot([begin, begin], [place - 0.35, place + 1.35], color="#777777", linewidth=0.4)
    _bar(axis, total, len(parts), 0.0)
    axis.axvline(0, color="#777777", linewidth=0.4)
    axis.set_yticks(range(len(parts) + 1), [*map(_name, parts), "total"])
    axis.set_ylim(len(parts) + 0.6, -0.6)
    axis.set_xlabel(f"difference ({unit_of(total['metric'])})")


def _bar(axis: Axes, row: Row, place: int, begin: float) -> None:
    colour, hatch = _WHOLE if row["role"] != "step" else _SHOWN if row["shown"] else _NOT_SHOWN
    axis.barh(place, row["value"], 0.7, left=begin, color=colour, hatch=hatch, edgecolor="k", linewidth=0.4)
    ends = [begin + row["low"], begin + row["high"]]
    axis.plot(ends, [place, place], color=BLACK, linewidth=0.8)


def _name(row: Row) -> str:
    if row["role"] == "residual":
        return "not attributed"
    layer = row["layer"]
    return _NAMES.get(layer, LAYER_TITLES.get(layer, layer).partition(" (")[0])


def _handles() -> list[Patch | Line2D]:
    bars = ((_SHOWN, "an effect is shown"), (_NOT_SHOWN, "none is shown"), (_WHOLE, "rest and total"))
    return [
        *(Patch(facecolor=c, hatch=h, edgecolor="k", linewidth=0.4, label=name) for (c, h), name in bars),
        Line2D([], [], linestyle="", marker="D", color="none", markeredgecolor=BLACK, label="taken from the container"),
    ]


def _caption(book: Book, totals: Sequence[Row]) -> Text:
    said = []
    for total in totals:
        rest = book.rows(_TABLE, model=total["model"], metric=total["metric"], direction="add", role="residual")
        unit = unit_of(total["metric"])
        said.append(
            say(
                "{model}: {whole} {unit} of {metric} from {first} to {last}, of which {rest} {unit} is not attributed",
                model=total["model"],
                whole=book.number(total, "value", "significant"),
                unit=unit,
                metric=metric_name(total["metric"]),
                first=arm(total["before"]),
                last=arm(total["after"]),
                rest=book.number(rest[0], "value", "significant") if rest else "-",
            )
        )
    return sentences(
        (*enumerated(said), "."),
        (_KEY,),
    )


def _said(row: Row) -> str:
    return f"{_name(row)} {row['value']:.3g}"


def _alt(totals: Sequence[Row], panels: Sequence[tuple[Row, Sequence[Row]]]) -> str:
    said = "; ".join(
        f"{total['model']}: {', '.join(_said(row) for row in parts)}, total {total['value']:.3g}"
        for total, parts in panels
    )
    return f"Bars of differences in {axis_label(totals[0]['metric'])}, one upon the other. {said}."
