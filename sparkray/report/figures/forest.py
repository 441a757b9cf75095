"""The ratios with their intervals, the margins shaded: the answer in one picture."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparkray.analysis.differences import DIFFERENCE, is_estimated
from sparkray.report.cells import arms_of, cells_of, primary_metrics
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import arm_lines, forest, forest_of_differences, legend_above, name_of, panels
from sparkray.report.figures._ticks import set_names
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import COLUMN_IN
from sparkray.schema import unit_of

ORDER = 10
TABLES = ("comparisons",)
_ROW_IN = 0.14
_PANELS = 3


def draw(data: ReportData) -> Figure | None:
    """A panel a primary metric, a row a model, an interval an environment; narrow, to stand beside the decision table."""
    metrics = primary_metrics(data)[:_PANELS]
    rows = [row for row in data.rows("comparisons") if row["metric"] in metrics and is_estimated(row)]
    metrics = [name for name in metrics if any(row["metric"] == name for row in rows)]
    if not rows:
        return None
    cells, environments = cells_of(data, rows), arms_of(rows)
    height = 0.4 + len(metrics) * (0.5 + _ROW_IN * len(cells) * max(1, len(environments) * 0.6))
    figure, axes = panels(COLUMN_IN, height, len(metrics))
    against = arm(rows[0]["against"])
    last: Axes | None = None
    for axis, metric in zip(axes, metrics, strict=True):
        mine = [row for row in rows if row["metric"] == metric]
        by_ratio = [row for row in mine if row["judged_by"] != DIFFERENCE]
        # one axis has one scale: where some models have no ratio, those that have one are drawn
        (forest if by_ratio else forest_of_differences)(axis, by_ratio or mine, cells, environments)
        axis.set_title(metric_name(metric))
        if by_ratio:
            last = axis
        else:
            axis.set_xlabel(f"difference to {against} ({unit_of(metric)})")
        set_names(axis.yaxis, range(len(cells)), [name_of(key) for key in cells])
        axis.set_ylabel("model")
    if last is not None:
        last.set_xlabel(f"ratio to {against}")
    legend_above(figure, arm_lines(environments), columns=2)
    return figure
