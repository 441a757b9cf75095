"""Memory by what is measured, arm beside arm: which number moves, and which only seems to."""

from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import Style, bars
from sparkray.report.style import arm_style

ORDER = 50
TABLES = ("memory",)
_SHORT = {
    "host_available_drop_peak_gib": "available, drop",
    "host_free_drop_peak_gib": "free, drop",
    "gpu_process_peak_gib": "GPU, process",
    "process_rss_peak_gib": "RSS",
    "process_pss_peak_gib": "PSS",
    "cgroup_anon_peak_gib": "cgroup, anon",
    "cgroup_file_peak_gib": "cgroup, file",
    "engine_reported_peak_gib": "engine reports",
    "kv_cache_gib": "KV cache",
}


def draw(data: ReportData) -> Figure | None:
    """A panel a model, a group of bars a kind of memory, a bar an arm, with intervals of the mean."""
    rows = [row for row in data.rows("memory") if row["mean"] is not None and row["part"] in _SHORT]
    if not rows:
        return None
    figure, axes, placed = bars(rows, cells_of(data, rows), arms_of(rows), _SHORT)
    for one in placed:
        face, means = arm_style(one.environment), [row["mean"] for row in one.rows]
        style: Style = {"color": face.colour, "hatch": face.hatch, "edgecolor": "k", "linewidth": 0.3}
        one.axis.barh(one.places, means, one.thickness, **style)
        known = [(y, row) for row, y in zip(one.rows, one.places, strict=True) if row["low"] is not None]
        lows, highs = ([row[end] for _, row in known] for end in ("low", "high"))
        one.axis.hlines([y for y, _ in known], lows, highs, color="k", linewidth=0.8)
    for axis in axes:
        axis.set_xlim(left=0)
    return figure
