"""Where a difference comes from: layer upon layer from the first environment to the last, and what no layer explains."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparkray.config.isolation import LAYER_TITLES
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import HIGHEST_IN, grid, legend_above, named_rows, patch
from sparkray.report.labels import metric_name
from sparkray.report.style import BLACK, BLUE, ORANGE
from sparkray.schema import unit_of

ORDER = 55
TABLES = ("attribution",)
_COLUMNS = 2
_SHOWN, _NOT_SHOWN, _WHOLE = (BLUE, ""), ("#FFFFFF", ""), (ORANGE, "///")
_KEY = ((*_SHOWN, "an effect is shown"), (*_NOT_SHOWN, "none is shown"), (*_WHOLE, "rest and total"))
_NAMES = {"chroot": "chroot, image's files", "ipc": "IPC and /dev/shm", "masked-paths": "masked paths"}


def draw(data: ReportData) -> Figure | None:
    """A panel a model: a bar a layer, each beginning where the one before ends; then the rest, and the whole."""
    rows = [row for row in data.rows("attribution") if row["value"] is not None]
    totals = [row for row in rows if row["role"] == "total"]
    if not totals:
        return None
    mine = [[row for row in rows if (row["model"], row["metric"]) == (one["model"], one["metric"])] for one in totals]
    parts = [[row for row in each if _is_part(row)] for each in mine]
    height = max(1.6, 0.5 + 0.15 * max(map(len, parts)))
    count = min(len(totals), _COLUMNS * max(1, int(HIGHEST_IN // height)))
    figure, axes = grid(count, height=height, columns=_COLUMNS)
    for index, axis in enumerate(axes):
        total = totals[index]
        left = {r["layer"]: r["value"] for r in mine[index] if (r["role"], r["direction"]) == ("step", "leave")}
        _panel(axis, total, parts[index], left)
        axis.set_title(f"{total['model']}: {metric_name(total['metric'])}")
        axis.set_ylabel("" if index % _COLUMNS else "layer (one added at a time)")
    diamond = Line2D([], [], linestyle="", marker="D", color="none", markeredgecolor=BLACK)
    diamond.set_label("taken from the container")
    legend_above(figure, [*(patch(*one) for one in _KEY), diamond])
    return figure


def _is_part(row: Row) -> bool:
    """The way to the chroot, the layers added, the residual."""
    return (row["role"], row["direction"]) in {("step", "start"), ("step", "add"), ("residual", "add")}


def _panel(axis: Axes, total: Row, parts: Sequence[Row], left: dict[str, float]) -> None:
    begin = 0.0
    for place, row in enumerate(parts):
        _bar(axis, row, place, begin)
        if row["layer"] in left:
            axis.plot([begin + left[row["layer"]]], [place], "D", color="none", markeredgecolor=BLACK, markersize=3)
        begin += row["value"]
        axis.plot([begin, begin], [place - 0.35, place + 1.35], color="#777777", linewidth=0.4)
    _bar(axis, total, len(parts), 0.0)
    axis.axvline(0, color="#777777", linewidth=0.4)
    named_rows(axis, [*map(_name, parts), "total"])
    axis.set_xlabel(f"difference ({unit_of(total['metric'])})")


def _bar(axis: Axes, row: Row, place: int, begin: float) -> None:
    colour, hatch = _WHOLE if row["role"] != "step" else _SHOWN if row["shown"] else _NOT_SHOWN
    axis.barh(place, row["value"], 0.7, left=begin, color=colour, hatch=hatch, edgecolor="k", linewidth=0.4)
    axis.plot([begin + row["low"], begin + row["high"]], [place, place], color=BLACK, linewidth=0.8)


def _name(row: Row) -> str:
    if row["role"] == "residual":
        return "not attributed"
    return _NAMES.get(row["layer"], LAYER_TITLES.get(row["layer"], row["layer"]).partition(" (")[0])
