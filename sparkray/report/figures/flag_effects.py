"""What each flag does alone: its gain over the baseline with the interval, the margin shaded, by security grade."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import legend_above, plain_figure
from sparkray.report.labels import metric_name
from sparkray.report.style import BAND, BLUE, INK, ORANGE, PAGE_IN, VERMILLION

TITLE = "What each flag does alone"
ORDER = 52
TABLES = ("flag_levels",)
GRADES = {"none": (BLUE, "o"), "weakens": (ORANGE, "s"), "dangerous": (VERMILLION, "D")}
"""Colour and marker of a security grade; the same in every figure."""
_MOST = 50
_ROW_IN = 0.145
_NEAR = 4.0
"""Margins that the second panel reaches to either side."""


def draw(book: Book) -> Drawn | NoFigure:
    """A row a level that was measured, the best first; on the right the neighbourhood of the margin."""
    measured = [row for row in book.rows("flag_levels", state="measured") if row["gain_pct"] is not None]
    if not measured:
        return NoFigure("no flag was screened: there is no document of an optimisation, or no level of it has a number")
    shown = sorted(sorted(measured, key=lambda row: -abs(row["gain_pct"]))[:_MOST], key=lambda row: -row["gain_pct"])
    figure, axes = plain_figure(PAGE_IN, min(8.8, max(1.6, 0.9 + _ROW_IN * len(shown))), 1, 2, sharey=True)
    margin = 100 * (shown[0]["margin"] or 0.01)
    near = (-_NEAR * margin, _NEAR * margin)
    ends = [end for row in shown for end in (row["gain_low_pct"], row["gain_high_pct"])]
    for axis, limits in zip(axes, (_widened(min(ends), max(ends)), near), strict=True):
        _panel(axis, shown, margin, limits)
        axis.set_xlabel("gain over the baseline (%)")
    axes[0].set_title("all")
    axes[1].set_title("around the margin")
    axes[0].set_yticks(range(len(shown)), [f"{row['factor']}={row['level']}" for row in shown])
    axes[0].set_ylabel("flag (level)")
    axes[0].set_ylim(len(shown) - 0.4, -0.6)
    legend_above(figure, _handles(shown))
    return Drawn(figure, _caption(book, measured, shown), _alt(shown))


def _widened(low: float, high: float) -> tuple[float, float]:
    low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _panel(axis: Axes, rows: Sequence[Row], margin: float, limits: tuple[float, float]) -> None:
    axis.set_xlim(*limits)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.axvspan(100 * (1 / (1 + margin / 100) - 1), margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(0.0, color=INK, linewidth=0.6, zorder=1)
    for place, row in enumerate(rows):
        colour, marker = GRADES[row["security"]]
        low, high = sorted((row["gain_low_pct"], row["gain_high_pct"]))
        axis.plot([low, high], [place, place], color=colour, linewidth=1.1, zorder=2)
        if limits[0] <= row["gain_pct"] <= limits[1]:
            face = colour if row["verdict"] in ("equivalent", "different") else "white"
            axis.plot(
                [row["gain_pct"]], [place], marker, color=face, markeredgecolor="k", markeredgewidth=0.5, zorder=3
            )
        else:
            left = row["gain_pct"] < limits[0]
            axis.plot(
                [limits[0] if left else limits[1]],
                [place],
                "<" if left else ">",
                color="k",
                markersize=3,
                clip_on=False,
            )


def _handles(rows: Sequence[Row]) -> list[Line2D]:
    words = {"none": "gives up no isolation", "weakens": "weakens isolation", "dangerous": "gives up isolation"}
    there = [name for name in GRADES if any(row["security"] == name for row in rows)]
    return [
        Line2D([], [], color=GRADES[name][0], marker=GRADES[name][1], markeredgecolor="k", markeredgewidth=0.4,
               label=words[name])
        for name in there
    ]  # fmt: skip


def _caption(book: Book, measured: Sequence[Row], shown: Sequence[Row]) -> Text:
    best, worst = shown[0], shown[-1]
    metric = book.rows("flag_facts", name="metric")
    left = "" if len(shown) == len(measured) else " Those with the smallest effects stand in the table alone."
    return sentences(
        say(
            "{n} levels, each as the only change to the baseline, by {metric}: from {best} ({gain}) to {worst} ({loss}).",
            n=book.count("flag_levels", state="measured"),
            metric=metric_name(metric[0]["text"]) if metric else "the objective",
            best=book.linked(f"{best['factor']}={best['level']}", best["trace"]),
            gain=book.number(best, "gain_pct", "effect_pct"),
            worst=book.linked(f"{worst['factor']}={worst['level']}", worst["trace"]),
            loss=book.number(worst, "gain_pct", "effect_pct"),
        ),
        say(
            "Right of the line is better. Lines are confidence intervals, the shaded band is the margin; filled marks are "
            "decided against it, hollow ones are not; an arrow points to a mark beyond the panel.{left}",
            left=left,
        ),
    )


def _alt(rows: Sequence[Row]) -> str:
    said = "; ".join(
        f"{row['factor']}={row['level']} {row['gain_pct']:+.1f} % ({row['gain_low_pct']:.1f} to {row['gain_high_pct']:.1f})"
        for row in rows
    )
    return f"Intervals of the gain of each flag over the baseline, the best first. {said}."
