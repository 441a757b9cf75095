"""The overhead by each of two studies of one load, and by the pairs of both."""

from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import arm_lines, forest, legend_above, name_of, panels
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import PAGE_IN

ORDER = 16
TABLES = ("between", "comparisons")
_PANELS = 3
_ROW_IN = 0.2


def draw(data: ReportData) -> Figure | None:
    """A panel a primary metric; three rows a model: the other study, this one, both."""
    both = [row for row in data.rows("between", kind="pooled") if row["ratio"] is not None]
    if not both or data.other is None:
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in both))[:_PANELS]
    cells, environments = cells_of(data, both), arms_of(both)
    theirs = list(data.other.tables["comparisons"].iter_rows(named=True))
    names = [one.path.name for one in (data.other, data.analysis)]
    if names[0] == names[1]:
        names = ["the other", "this study"]
    sources = ((names[0], theirs), (names[1], data.rows("comparisons")), ("pooled", both))
    places = [((f"{name_of(cell)}, {source}", ""), cell, rows) for cell in cells for source, rows in sources]
    figure, axes = panels(PAGE_IN, 0.7 + len(metrics) * (0.5 + _ROW_IN * len(places)), len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        shown = [
            {**row, "model": place[0], "level": place[1]}
            for place, cell, rows in places
            for row in rows
            if _is_of(row, cell, metric) and row["environment"] in environments
        ]
        forest(axis, shown, [place for place, _, _ in places], environments)
        axis.set_title(metric_name(metric))
        axis.set_yticks(range(len(places)), [place[0] for place, _, _ in places])
        axis.set_ylabel("model")
    axes[-1].set_xlabel(f"ratio to {arm(data.rows('comparisons')[0]['against'])}")
    legend_above(figure, arm_lines(environments))
    return figure


def _is_of(row: Row, cell: tuple[str, str], metric: str) -> bool:
    return (row["model"], row["level"] or "") == cell and row["metric"] == metric and row["ratio"] is not None
