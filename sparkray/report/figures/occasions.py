"""The overhead by each study of one load, and by the pairs of all of them."""

from matplotlib.figure import Figure

from sparkray.analysis import Analysis
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import arm_lines, forest, legend_above, name_of, panels
from sparkray.report.figures._ticks import set_names
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import PAGE_IN

ORDER = 16
TABLES = ("between", "comparisons")
_PANELS = 3
_ROW_IN = 0.2


def draw(data: ReportData) -> Figure | None:
    """A panel a primary metric; a row a study, then one for all, in each model."""
    both = [row for row in data.rows("between", kind="pooled") if row["ratio"] is not None]
    if not both:
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in both))[:_PANELS]
    cells, environments = cells_of(data, both), arms_of(both)
    studies = sorted((*data.others, data.analysis), key=_began)
    names = [one.path.name for one in studies]
    if len(set(names)) < len(names):
        names = [f"study {number + 1}" for number in range(len(studies))]
    each: list[list[Row]] = [list(one.tables["comparisons"].iter_rows(named=True)) for one in studies]
    sources: list[tuple[str, list[Row]]] = [*zip(names, each, strict=True), ("pooled", both)]
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
        set_names(axis.yaxis, range(len(places)), [place[0] for place, _, _ in places])
        axis.set_ylabel("model")
    axes[-1].set_xlabel(f"ratio to {arm(data.rows('comparisons')[0]['against'])}")
    legend_above(figure, arm_lines(environments))
    return figure


def _began(study: Analysis) -> str:
    return str(study.context.get("started_at") or "")


def _is_of(row: Row, cell: tuple[str, str], metric: str) -> bool:
    return (row["model"], row["level"] or "") == cell and row["metric"] == metric and row["ratio"] is not None
