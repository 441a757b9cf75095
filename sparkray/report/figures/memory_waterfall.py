"""Memory of each arm, part upon part: what explains the drop of available memory, and what page cache adds to it."""

from matplotlib.figure import Figure

from sparkray.analysis.derived.memory_split import PARTS
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import Style, bars
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
    for one in placed:
        face, values = arm_style(one.environment), [row["value_gib"] for row in one.rows]
        edges = [face.colour if value < 0 else "k" for value in values]
        lines, fills = (
            [0.8 if value < 0 else 0.3 for value in values],
            ["white" if v < 0 else face.colour for v in values],
        )
        style: Style = {"left": [row["begin_gib"] for row in one.rows], "hatch": face.hatch, "edgecolor": edges}
        one.axis.barh(one.places, values, one.thickness, color=fills, linewidth=lines, **style)
    for axis in axes:
        low, high = axis.dataLim.intervalx
        axis.set_xlim(min(0.0, low), high * 1.04)
        axis.axvline(0, color="#777777", linewidth=0.4)
    return figure
