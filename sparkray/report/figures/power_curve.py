"""Power over the number of pairs: would fewer runs have done, or are more needed?"""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from sparkray.report.book import Book, Row
from sparkray.report.cells import primary_metrics
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import plain_figure
from sparkray.report.labels import metric_name
from sparkray.report.style import BLACK, BLUE, COLUMN_IN, INK, ORANGE
from sparkray.report.text import Text, say, sentences

TITLE = "Power of the equivalence test over the number of pairs"
ORDER = 90
_PANELS = 3
_ENOUGH, _CERTAIN = 0.8, 0.99
_LINES = {"min": (BLUE, "-"), "median": (BLACK, "--"), "max": (ORANGE, "-.")}
_WORDS = {"min": "calmest model", "median": "median model", "max": "noisiest model"}


def draw(book: Book) -> Drawn | NoFigure:
    """A panel a primary metric; a curve for the least, median and greatest spread between runs that was seen."""
    rows = [row for row in book.rows("power_curve") if row["power"] is not None]
    rows = [row for row in rows if row["environment"] == rows[0]["environment"]]
    metrics = [m for m in primary_metrics(book)[:_PANELS] if any(row["metric"] == m for row in rows)]
    if not metrics:
        return NoFigure("no spread between pairs could be estimated for a metric with a margin")
    figure, axes = plain_figure(COLUMN_IN, 0.6 + 1.15 * len(metrics), len(metrics), 1, sharex=True)
    planned = next((row["pairs_planned"] for row in book.rows("comparisons") if row["pairs_planned"]), None)
    longest = max(_reach(row for row in rows if row["metric"] in metrics), (planned or 0) * 1.3)
    axes[0].set_xlim(0, longest)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, [row for row in rows if row["metric"] == metric], planned)
        axis.set_title(metric_name(metric))
        axis.set_ylabel("power (1 = certain)")
    axes[-1].set_xlabel("pairs (number of blocks)")
    return Drawn(figure, sentences(*(_caption(book, rows, metric) for metric in metrics)), _alt(rows, metrics))


def _reach(rows: Iterable[Row]) -> float:
    """As many pairs as the slowest curve needs to be as good as certain, and some room."""
    ends: dict[tuple[str, str], float] = {}
    for row in sorted(rows, key=lambda row: -row["n"]):
        curve = (row["metric"], row["spread"])
        if row["power"] >= _CERTAIN or curve not in ends:
            ends[curve] = row["n"]
    return max(ends.values()) * 1.15


def _panel(axis: Axes, rows: Sequence[Row], planned: int | None) -> None:
    for spread, (colour, line) in _LINES.items():
        mine = sorted((row for row in rows if row["spread"] == spread), key=lambda row: row["n"])
        if mine:
            axis.plot(
                [row["n"] for row in mine],
                [row["power"] for row in mine],
                color=colour,
                linestyle=line,
                label=f"{_WORDS[spread]} (CV {mine[0]['cv_pct']:.2g} %)",
            )
    axis.axhline(_ENOUGH, color=INK, linewidth=0.5, linestyle=":")
    if planned is not None:
        axis.axvline(planned, color=INK, linewidth=0.5, linestyle=":")
    axis.set_ylim(0, 1.03)
    axis.legend(loc="center right", handlelength=2.6)


def _caption(book: Book, rows: Sequence[Row], metric: str) -> Text:
    mine = [row for row in rows if row["metric"] == metric]
    found: list[Text] = []
    for spread in ("min", "max"):
        curve = sorted((row for row in mine if row["spread"] == spread), key=lambda row: row["n"])
        enough = next((row for row in curve if row["power"] >= _ENOUGH), None)
        if enough is not None:
            found.append(
                say(
                    "{n} pairs for the {who} (CV {cv})",
                    n=book.number(enough, "n", "count"),
                    who=_WORDS[spread],
                    cv=book.number(enough, "cv_pct", "per_cent"),
                )
            )
        elif curve:
            found.append(
                say(
                    "more than {n} pairs for the {who} (CV {cv})",
                    n=book.number(curve[-1], "n", "count"),
                    who=_WORDS[spread],
                    cv=book.number(curve[-1], "cv_pct", "per_cent"),
                )
            )
    margin = next(row for row in mine)
    return say(
        "{name}, margin {margin}: {power} power at a true ratio of one takes {pairs}.",
        name=metric_name(metric)[0].upper() + metric_name(metric)[1:],
        power=book.constant("power"),
        margin=book.number(margin, "margin", "share"),
        pairs=sentences(*found[:1], *(("and",) if len(found) > 1 else (),), *found[1:]),
    )


def _alt(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    said = []
    for metric in metrics:
        for spread in _LINES:
            curve = [row for row in rows if row["metric"] == metric and row["spread"] == spread]
            if curve:
                end = max(curve, key=lambda row: row["n"])
                said.append(f"{metric_name(metric)}, {_WORDS[spread]}: {end['power']:.2f} at {end['n']} pairs")
    return f"Rising curves of power over the number of pairs. {'; '.join(said)}."
