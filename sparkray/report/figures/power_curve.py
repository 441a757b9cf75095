"""Power over the number of pairs, for each environment: would fewer runs have done, or are more needed?"""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparkray.report.cells import arms_of, primary_metrics
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import panels
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import BLACK, BLUE, COLUMN_IN, INK, ORANGE, PAGE_IN

ORDER = 90
TABLES = ("power_curve",)
_PANELS = 3
_ENOUGH, _CERTAIN = 0.8, 0.99
_LINES = ((BLUE, "-", "calmest model"), (BLACK, "--", "middle model"), (ORANGE, "-.", "noisiest model"))
Curve = list[Row]


def draw(data: ReportData) -> Figure | None:
    """A row of panels a primary metric, a column an environment; a curve for the least, middle and greatest spread."""
    rows = [row for row in data.rows("power_curve") if row["power"] is not None]
    metrics = [m for m in primary_metrics(data)[:_PANELS] if any(row["metric"] == m for row in rows)]
    if not metrics:
        return None
    environments = arms_of(rows)
    width, height = COLUMN_IN if len(environments) == 1 else PAGE_IN, 0.6 + 1.15 * len(metrics)
    figure, axes = panels(width, height, len(metrics), len(environments), sharex=True, sharey=True)
    planned = next((row["pairs_planned"] for row in data.rows("comparisons") if row["pairs_planned"]), None)
    shown: list[Row] = []
    for index, axis in enumerate(axes):
        metric, environment = metrics[index // len(environments)], environments[index % len(environments)]
        curves = _chosen([row for row in rows if (row["metric"], row["environment"]) == (metric, environment)])
        shown += [row for curve in curves for row in curve]
        _panel(axis, curves, planned)
        axis.set_title(f"{metric_name(metric)}, {arm(environment)}")
        axis.set_ylabel("power (1 = certain)" if index % len(environments) == 0 else "")
        axis.set_xlabel("pairs (number of blocks)" if index >= len(axes) - len(environments) else "")
    axes[0].set_xlim(0, max(_reach(shown), (planned or 0) * 1.3))
    return figure


def _chosen(rows: Sequence[Row]) -> list[Curve]:
    """The curves of the least, the middle and the greatest spread, over all levels of the load."""
    curves: dict[tuple[str, str], Curve] = {}
    for row in sorted(rows, key=lambda row: row["n"]):
        curves.setdefault((row["level"], row["spread"]), []).append(row)
    ordered = sorted(curves.values(), key=lambda curve: float(curve[0]["cv_pct"]))
    places = dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1)) if ordered else ()
    return [ordered[place] for place in places]


def _reach(rows: Iterable[Row]) -> float:
    """As many pairs as the slowest curve needs to be as good as certain, and some room."""
    ends: dict[tuple[str, ...], float] = {}
    for row in sorted(rows, key=lambda row: -row["n"]):
        curve = (row["metric"], row["environment"], row["level"], row["spread"])
        if row["power"] >= _CERTAIN or curve not in ends:
            ends[curve] = row["n"]
    return max(ends.values(), default=1.0) * 1.15


def _panel(axis: Axes, curves: Sequence[Curve], planned: int | None) -> None:
    lines = _LINES if len(curves) == len(_LINES) else (_LINES[0], (*_LINES[1][:2], _LINES[-1][2]))
    for curve, (colour, line, word) in zip(curves, lines, strict=False):
        label = f"{word} (CV {curve[0]['cv_pct']:.2g} %)"
        xs, ys = [row["n"] for row in curve], [row["power"] for row in curve]
        axis.plot(xs, ys, color=colour, linestyle=line, label=label)
    axis.axhline(_ENOUGH, color=INK, linewidth=0.5, linestyle=":")
    if planned is not None:
        axis.axvline(planned, color=INK, linewidth=0.5, linestyle=":")
    axis.set_ylim(0, 1.03)
    if curves:
        box = axis.legend(loc="center right", handlelength=2.6, frameon=True, facecolor="white", framealpha=1.0)
        box.get_frame().set_linewidth(0)  # hides the line of the planned pairs, not the words
