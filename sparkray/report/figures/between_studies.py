"""This study against another one: what changed, with the margins shaded."""

from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import arm_lines, forest, legend_above, name_of, panels
from sparkray.report.figures._ticks import set_names
from sparkray.report.labels import metric_name
from sparkray.report.style import PAGE_IN

ORDER = 15
TABLES = ("between",)
_PANELS = 3
_KINDS = {"overhead": "overhead", "arm": "the arm itself"}  # not the overhead of both, which is no change


def draw(data: ReportData) -> Figure | None:
    """Columns: the metrics; above, whether the overhead changed; below, whether the arms themselves did."""
    rows = [row for row in data.rows("between") if row["ratio"] is not None and row["kind"] in _KINDS]
    if not rows:
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in rows))[:_PANELS]
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    cells, environments = cells_of(data, rows), arms_of(rows)
    height = 0.7 + len(kinds) * (0.5 + 0.17 * len(cells) * max(1.0, 0.6 * len(environments)))
    figure, axes = panels(PAGE_IN, height, len(kinds), len(metrics), sharey=True)
    for index, axis in enumerate(axes):
        kind, metric = kinds[index // len(metrics)], metrics[index % len(metrics)]
        forest(axis, [r for r in rows if (r["kind"], r["metric"]) == (kind, metric)], cells, environments)
        axis.set_title(f"{metric_name(metric)}\n{_KINDS[kind]}")
        axis.set_xlabel("ratio, this study over the other")
        axis.set_ylabel("model" if index % len(metrics) == 0 else "")
    set_names(axes[0].yaxis, range(len(cells)), [name_of(key) for key in cells])
    legend_above(figure, arm_lines(environments))
    return figure
