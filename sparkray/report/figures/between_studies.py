"""This study against another one: what changed, with the margins shaded."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, legend_above, name_of, plain_figure, ratio_axis
from sparkray.report.labels import metric_name
from sparkray.report.style import BAND, INK, PAGE_IN, look

TITLE = "This study over the other"
ORDER = 15
TABLES = ("between",)
_PANELS = 3
_HEADS = {"overhead": "overhead", "arm": "the arm itself"}


def draw(book: Book) -> Drawn | NoFigure:
    """Columns: the metrics; above, whether the overhead changed; below, whether the arms themselves did."""
    rows = [row for row in book.rows("between") if row["ratio"] is not None]
    if not rows:
        return NoFigure("no other study was given (`--against DIR`), or it shares no cell with this one")
    metrics = list(dict.fromkeys(row["metric"] for row in rows))[:_PANELS]
    kinds = [kind for kind in _HEADS if any(row["kind"] == kind for row in rows)]
    cells, environments = cells_of(book, rows), arms_of(rows)
    height = 0.7 + len(kinds) * (0.5 + 0.17 * len(cells) * max(1.0, 0.6 * len(environments)))
    figure, axes = plain_figure(PAGE_IN, height, len(kinds), len(metrics), sharey=True)
    for index, axis in enumerate(axes):
        kind, metric = kinds[index // len(metrics)], metrics[index % len(metrics)]
        _panel(axis, [r for r in rows if r["kind"] == kind and r["metric"] == metric], cells, environments)
        axis.set_title(f"{metric_name(metric)}\n{_HEADS[kind]}")
        axis.set_xlabel("ratio, this study over the other")
        axis.set_ylabel("model" if index % len(metrics) == 0 else "")
    axes[0].set_yticks(range(len(cells)), [name_of(key) for key in cells])
    axes[0].set_ylim(len(cells) - 0.4, -0.6)
    legend_above(figure, arm_lines(environments))
    return Drawn(figure, _caption(book), "Forest plot of two studies. " + " ".join(row["sentence"] for row in rows))


def _panel(axis: Axes, rows: Sequence[Row], cells: Sequence[tuple[str, str]], environments: Sequence[str]) -> None:
    for row in rows:
        place = environments.index(row["environment"]) - (len(environments) - 1) / 2
        y = cells.index((row["model"], row["level"] or "")) + place * 0.6 / len(environments)
        face = look(row["environment"])
        axis.plot([row["low"], row["high"]], [y, y], color=face.colour, linewidth=1.0)
        axis.plot([row["low90"], row["high90"]], [y, y], color=face.colour, linewidth=2.4, solid_capstyle="butt")
        filled = "white" if row["verdict"] in (None, "undecided") else face.colour
        axis.plot([row["ratio"]], [y], face.marker, color=filled, markeredgecolor="k", markeredgewidth=0.5)
    margin = next((row["margin"] for row in rows if row["margin"]), None)
    if margin is not None:
        axis.axvspan(1 / (1 + margin), 1 + margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(1.0, color=INK, linewidth=0.6)
    ratio_axis(axis, *axis.get_xlim())


def _caption(book: Book) -> Text:
    return say(
        "Of {n} comparisons of the overhead between the studies, {a} equivalent, {b} different, {c} undecided; "
        "filled marks are decided.",
        n=book.count("between", kind="overhead"),
        a=book.count("between", kind="overhead", verdict="equivalent"),
        b=book.count("between", kind="overhead", verdict="different"),
        c=book.count("between", kind="overhead", verdict="undecided"),
    )
