"""What the search tried, and which of it nothing else beats on every measure: gain against memory and KV cache."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import legend_above, plain_figure
from sparkray.report.figures.flag_effects import GRADES
from sparkray.report.labels import axis_label, metric_name
from sparkray.report.style import COLUMN_IN, INK, PAGE_IN

TITLE = "What the search tried, and its Pareto front"
ORDER = 53
TABLES = ("flag_trials",)
_MEASURES = (("memory_gib", "host_available_drop_peak_gib"), ("kv_cache_gib", "kv_cache_gib"))
_HEIGHT = 2.6
_KEY = (
    "Filled marks with a letter are on the front: nothing that was tried is as good on every measure and better on one. The "
    "dashed line is the baseline. These are estimates of a search, the highest of which is too high; fresh runs decide."
)


def draw(book: Book) -> Drawn | NoFigure:
    """A panel for memory and one for KV cache, where they were measured; marks of the front are filled and lettered."""
    tried = [row for row in book.rows("flag_trials") if row["gain_pct"] is not None and row["state"] != "failed"]
    panels = [
        (column, metric, rows)
        for column, metric in _MEASURES
        if (rows := [row for row in tried if row[column] is not None])
        and (column == "memory_gib" or len({row[column] for row in rows}) > 1)
    ]
    if not panels:
        return NoFigure("nothing was searched, or no configuration that was tried has both a gain and a memory")
    figure, axes = plain_figure(COLUMN_IN if len(panels) == 1 else PAGE_IN, _HEIGHT, 1, len(panels), sharey=True)
    for axis, (column, metric, rows) in zip(axes, panels, strict=True):
        _panel(axis, rows, column)
        axis.set_xlabel(axis_label(metric))
    axes[0].set_ylabel("gain over the baseline (%)")
    legend_above(figure, _handles(tried))
    return Drawn(figure, _caption(book, tried), _alt(tried))


def _panel(axis: Axes, rows: Sequence[Row], column: str) -> None:
    axis.axhline(0.0, color=INK, linewidth=0.6, linestyle="--")
    for row in rows:
        colour, marker = GRADES[row["security"]]
        axis.plot(
            [row[column]],
            [row["gain_pct"]],
            marker,
            color=colour if row["on_front"] else "white",
            markeredgecolor="k" if row["on_front"] else colour,
            markeredgewidth=0.6,
            zorder=3 if row["on_front"] else 2,
        )
        if row["label"]:
            axis.annotate(row["label"], (row[column], row["gain_pct"]), (3, 3), textcoords="offset points", fontsize=6)
    axis.margins(0.12)


def _handles(rows: Sequence[Row]) -> list[Line2D]:
    words = {"none": "no isolation given up", "weakens": "weakens", "dangerous": "dangerous"}
    return [
        Line2D([], [], linestyle="", color=GRADES[name][0], marker=GRADES[name][1], markeredgecolor="k",
               markeredgewidth=0.4, label=words[name])
        for name in GRADES
        if any(row["security"] == name for row in rows)
    ]  # fmt: skip


def _caption(book: Book, tried: Sequence[Row]) -> Text:
    best = max(tried, key=lambda row: row["gain_pct"])
    metric = book.rows("flag_facts", name="metric")
    return sentences(
        say(
            "{all} configurations were tried, {front} of them on the front of {metric}, memory, KV cache and isolation; "
            "the highest raw gain is {gain}.",
            all=book.count("flag_trials"),
            front=book.count("flag_trials", on_front=True),
            metric=metric_name(metric[0]["text"]) if metric else "the objective",
            gain=book.number(best, "gain_pct", "effect_pct"),
        ),
        (_KEY,),
    )


def _alt(tried: Sequence[Row]) -> str:
    front = "; ".join(
        f"{row['label']}: {row['gain_pct']:+.1f} %"
        + (f" with {row['memory_gib']:.2f} GiB" if row["memory_gib"] is not None else "")
        + f", isolation {row['security']}"
        for row in tried
        if row["on_front"]
    )
    return f"Scatter of gain over memory for every configuration that was tried. On the front: {front or 'none'}."
