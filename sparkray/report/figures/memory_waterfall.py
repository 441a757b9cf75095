"""Memory of each arm, part upon part: what explains the drop of available memory, and what page cache adds to it."""

from matplotlib.figure import Figure

from sparkray.analysis.derived.memory_split import PARTS
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import bars
from sparkray.report.style import arm_style

ORDER = 51
TABLES = ("memory_split",)
_NAMES = ("GPU, process", "process, PSS", "not explained", "= available, drop", "page cache", "= free, drop")


def draw(data: ReportData) -> Figure | None:
    """A panel a model; a row a part, which begins where the one above ends; a bar an arm, hollow below zero."""
    rows = data.rows("memory_split")
    if not rows:
        return None
    figure, axes, placed = bars(rows, cells_of(data, rows), arms_of(rows), dict(zip(PARTS, _NAMES, strict=True)))
    for axis, row, place, wide in placed:
        face, below = arm_style(row["environment"]), row["value_gib"] < 0
        fill, edge, line = ("white", face.colour, 0.8) if below else (face.colour, "k", 0.3)
        style = {"left": row["begin_gib"], "hatch": face.hatch, "edgecolor": edge, "linewidth": line}
        axis.barh(place, row["value_gib"], wide, color=fill, **style)
    for axis in axes:
        low, high = axis.dataLim.intervalx
        axis.set_xlim(min(0.0, low), high * 1.04)
        axis.axvline(0, color="#777777", linewidth=0.4)
    return figure
