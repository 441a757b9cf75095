"""Where the variance comes from: what pairing removes, what more runs remove, what more requests remove."""

from matplotlib.figure import Figure

from sparkray.report.cells import cells_of, first_metric
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import legend_above, name_of, named_rows, of_cell, panels, patch
from sparkray.report.labels import metric_name
from sparkray.report.style import BLUE, COLUMN_IN, ORANGE

ORDER = 100
TABLES = ("diagnostics",)
# Per cent; a part that is nowhere larger cannot be seen.
_LEAST = 0.5
_PARTS = {
    "share_between_blocks_pct": (BLUE, "", "between blocks (pairing removes it)"),
    "share_within_pct": (ORANGE, "///", "from run to run within blocks"),
    "share_run_request_pct": ("#FFFFFF", "...", "residual of run × request"),
}


def draw(data: ReportData) -> Figure | None:
    """A bar a model, of three parts that make the whole; the shares are of all environments together."""
    of_requests = sorted({r["metric"] for r in data.rows("diagnostics") if r["share_run_request_pct"] is not None})
    metric = of_requests[0] if of_requests else first_metric(data)
    rows = [row for row in data.rows("diagnostics", metric=metric) if row["share_within_pct"] is not None]
    if metric is None or not rows:
        return None
    cells = cells_of(data, rows)
    figure, (axis,) = panels(COLUMN_IN, max(1.7, 0.95 + 0.17 * len(cells)))
    parts = {name: part for name, part in _PARTS.items() if any((row[name] or 0.0) >= _LEAST for row in rows)}
    for place, key in enumerate(cells):
        row, start = of_cell(rows, key)[0], 0.0
        for column, (colour, hatch, _) in parts.items():
            share = row[column] or 0.0
            axis.barh(place, share, 0.75, left=start, color=colour, hatch=hatch, edgecolor="k", linewidth=0.3)
            start += share
    named_rows(axis, [name_of(key) for key in cells])
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of variance (%)")
    axis.set_title(metric_name(metric))
    legend_above(figure, [patch(*part) for part in parts.values()], columns=1, handlelength=1.8)
    return figure
