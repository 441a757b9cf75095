"""Memory by what is measured, arm beside arm: which number moves, and which only seems to."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._memory import panels
from sparkray.report.labels import arm, cell, metric_name
from sparkray.report.style import look

TITLE = "Memory, by what is measured"
ORDER = 50
TABLES = ("memory",)
PRIMARY = "host_available_drop_peak_gib"
_SHORT = {
    "host_available_drop_peak_gib": "available, drop",
    "host_free_drop_peak_gib": "free, drop",
    "gpu_process_peak_gib": "GPU, process",
    "process_rss_peak_gib": "RSS",
    "process_pss_peak_gib": "PSS",
    "cgroup_anon_peak_gib": "cgroup, anon",
    "cgroup_file_peak_gib": "cgroup, file",
    "engine_reported_peak_gib": "engine says",
    "kv_cache_gib": "KV cache",
}


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a model, a group of bars a kind of memory, a bar an arm, with intervals of the mean."""
    rows = [row for row in book.rows("memory") if row["mean"] is not None and row["part"] in _SHORT]
    if not rows:
        return NoFigure("no memory was measured")
    figure, axes = panels(book, rows, _SHORT, _bar)
    for axis in axes:
        axis.set_xlim(left=0)
    return Drawn(figure, _caption(book, rows), _alt(rows))


def _bar(axis: Axes, row: Row, place: float, wide: float) -> None:
    face = look(row["environment"])
    axis.barh(place, row["mean"], wide, color=face.colour, hatch=face.hatch, edgecolor="k", linewidth=0.3)
    if row["low"] is not None:
        axis.plot([row["low"], row["high"]], [place, place], color="k", linewidth=0.8)


def _caption(book: Book, rows: Sequence[Row]) -> Text:
    primary = [row for row in rows if row["part"] == PRIMARY]
    largest = max(primary or rows, key=lambda row: row["mean"])
    not_there = sorted({row["part"] for row in book.rows("memory")} - {row["part"] for row in rows})
    return sentences(
        say(
            "Means with their confidence intervals. The largest {name} is {mean} GiB ({model}, {arm}).",
            name=metric_name(largest["part"]),
            mean=book.number(largest, "mean", "significant"),
            model=cell(largest["model"], largest["level"]),
            arm=arm(largest["environment"]),
        ),
        say("Not measured: {names}.", names=enumerated(map(metric_name, not_there))) if not_there else (),
        ("A kind of memory without a bar was not measured in that arm, which is not the same as zero.",),
    )


def _alt(rows: Sequence[Row]) -> str:
    said = [
        f"{cell(row['model'], row['level'])}, {arm(row['environment'])}: {row['mean']:.3g} GiB"
        for row in rows
        if row["part"] == PRIMARY
    ]
    return f"Bars of memory by kind and arm. {metric_name(PRIMARY)}: {'; '.join(said) or 'not measured'}."
