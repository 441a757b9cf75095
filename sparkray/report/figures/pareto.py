"""What the search tried, and which of it nothing else beats on every measure: gain against memory and KV cache."""

from matplotlib.figure import Figure

from sparkray.report.data import ReportData
from sparkray.report.figures._frame import GRADES, grade_marks, legend_above, panels
from sparkray.report.labels import axis_label
from sparkray.report.style import COLUMN_IN, INK, PAGE_IN

ORDER = 53
TABLES = ("flag_trials",)
_MEASURES = {"memory_gib": "host_available_drop_peak_gib", "kv_cache_gib": "kv_cache_gib"}
_HEIGHT = 2.6


def draw(data: ReportData) -> Figure | None:
    """A panel for memory and one for KV cache, where they were measured; marks of the front are filled and lettered."""
    tried = [row for row in data.rows("flag_trials") if row["gain_pct"] is not None and row["state"] != "failed"]
    rows_of = {column: [row for row in tried if row[column] is not None] for column in _MEASURES}
    shown = [
        column
        for column, rows in rows_of.items()
        if rows and (column == "memory_gib" or len({row[column] for row in rows}) > 1)
    ]
    if not shown:
        return None
    figure, axes = panels(COLUMN_IN if len(shown) == 1 else PAGE_IN, _HEIGHT, 1, len(shown), sharey=True)
    for axis, column in zip(axes, shown, strict=True):
        axis.axhline(0.0, color=INK, linewidth=0.6, linestyle="--")
        for row in rows_of[column]:
            colour, marker = GRADES[row["security"]]
            fill, edge, above = (colour, "k", 3) if row["on_front"] else ("white", colour, 2)
            place = row[column], row["gain_pct"]
            axis.plot(*place, marker, color=fill, markeredgecolor=edge, markeredgewidth=0.6, zorder=above)
            if row["label"]:
                axis.annotate(row["label"], place, (3, 3), textcoords="offset points", fontsize=6)
        axis.margins(0.12)
        axis.set_xlabel(axis_label(_MEASURES[column]))
    axes[0].set_ylabel("gain over the baseline (%)")
    legend_above(figure, grade_marks(tried, ""))
    return figure
