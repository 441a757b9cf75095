"""The ratios with their intervals, the margins shaded: the answer in one picture."""

from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of, primary_metrics
from sparkray.report.data import ReportData
from sparkray.report.figures._frame import arm_lines, forest, legend_above, name_of, panels
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import COLUMN_IN

ORDER = 10
TABLES = ("comparisons",)
_ROW_IN = 0.14
_PANELS = 3


def draw(data: ReportData) -> Figure | None:
    """A panel a primary metric, a row a model, an interval an environment; narrow, to stand beside the decision table."""
    metrics = primary_metrics(data)[:_PANELS]
    rows = [row for row in data.rows("comparisons") if row["metric"] in metrics and row["ratio"] is not None]
    if not rows:
        return None
    cells, environments = cells_of(data, rows), arms_of(rows)
    height = 0.4 + len(metrics) * (0.5 + _ROW_IN * len(cells) * max(1, len(environments) * 0.6))
    figure, axes = panels(COLUMN_IN, height, len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        forest(axis, [row for row in rows if row["metric"] == metric], cells, environments)
        axis.set_title(metric_name(metric))
        axis.set_yticks(range(len(cells)), [name_of(key) for key in cells])
        axis.set_ylabel("model")
    axes[-1].set_xlabel(f"ratio to {arm(rows[0]['against'])}")
    legend_above(figure, arm_lines(environments), columns=2)
    return figure
