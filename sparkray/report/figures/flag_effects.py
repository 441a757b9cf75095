"""What each flag does alone: its gain over the baseline with the interval, the margin shaded, by security grade."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import (
    DECIDED,
    GRADES,
    HIGHEST_IN,
    arrows,
    grade_marks,
    legend_above,
    named_rows,
    panels,
)
from sparkray.report.style import BAND, INK, PAGE_IN

ORDER = 52
TABLES = ("flag_levels",)
_MOST = 50
_ROW_IN = 0.145
# Margins that the second panel reaches to either side.
_NEAR = 4.0


def draw(data: ReportData) -> Figure | None:
    """A row a level that was measured, the best first; on the right the neighbourhood of the margin."""
    rows = [row for row in data.rows("flag_levels", state="measured") if row["gain_pct"] is not None]
    if not rows:
        return None
    rows = sorted(sorted(rows, key=lambda row: -abs(row["gain_pct"]))[:_MOST], key=lambda row: -row["gain_pct"])
    height = min(HIGHEST_IN, max(1.6, 0.9 + _ROW_IN * len(rows)))
    figure, axes = panels(PAGE_IN, height, 1, 2, sharey=True)
    margin = 100 * (rows[0]["margin"] or 0.01)
    low, high = min([0.0, *map(_low, rows)]), max([0.0, *map(_high, rows)])
    room = 0.05 * (high - low) or 1.0
    for axis, limits in zip(axes, ((low - room, high + room), (-_NEAR * margin, _NEAR * margin)), strict=True):
        _panel(axis, rows, margin, limits)
        axis.set_xlabel("gain over the baseline (%)")
    axes[0].set_title("all")
    axes[1].set_title("around the margin")
    named_rows(axes[0], [f"{row['factor']}={row['level']}" for row in rows], "flag (level)")
    legend_above(figure, grade_marks(rows, "-"))
    return figure


def _low(row: Row) -> float:
    return float(min(row["gain_low_pct"], row["gain_high_pct"]))


def _high(row: Row) -> float:
    return float(max(row["gain_low_pct"], row["gain_high_pct"]))


def _panel(axis: Axes, rows: Sequence[Row], margin: float, limits: tuple[float, float]) -> None:
    axis.set_xlim(*limits)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.axvspan(100 * (1 / (1 + margin / 100) - 1), margin, color=BAND, zorder=0, linewidth=0)
    axis.axvline(0.0, color=INK, linewidth=0.6, zorder=1)
    for place, row in enumerate(rows):
        colour, marker = GRADES[row["security"]]
        gain, face = row["gain_pct"], colour if row["verdict"] in DECIDED else "white"
        axis.plot([_low(row), _high(row)], [place, place], color=colour, linewidth=1.1, zorder=2)
        if limits[0] <= gain <= limits[1]:
            axis.plot([gain], [place], marker, color=face, markeredgecolor="k", markeredgewidth=0.5, zorder=3)
        arrows(axis, limits, (gain, gain), place)
