"""The ratios with their intervals, the margins shaded: the answer in one picture."""

from matplotlib.figure import Figure

from sparkray.report.book import Book
from sparkray.report.cells import arms_of, cells_of, primary_metrics
from sparkray.report.figures._frame import arm_lines, forest, legend_above, name_of, panels
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import PAGE_IN

ORDER = 10
TABLES = ("comparisons",)
_ROW_IN = 0.2
_PANELS = 3


def draw(book: Book) -> Figure | None:
    """A panel a primary metric, a row a model, an interval an environment."""
    metrics = primary_metrics(book)[:_PANELS]
    rows = [row for row in book.rows("comparisons") if row["metric"] in metrics and row["ratio"] is not None]
    if not rows:
        return None
    cells, environments = cells_of(book, rows), arms_of(rows)
    height = max(1.5, 0.75 + _ROW_IN * len(cells) * max(1, len(environments) * 0.75))
    figure, axes = panels(PAGE_IN, height, 1, len(metrics), sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        forest(axis, [row for row in rows if row["metric"] == metric], cells, environments)
        axis.set_title(metric_name(metric))
        axis.set_xlabel(f"ratio to {arm(rows[0]['against'])}")
    axes[0].set_yticks(range(len(cells)), [name_of(key) for key in cells])
    axes[0].set_ylabel("model")
    legend_above(figure, arm_lines(environments))
    return figure
