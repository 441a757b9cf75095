"""Throughput and temperature in the order of the runs: a drift, a jump or a warm start would stand out here."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparkray.report.cells import arms_of
from sparkray.report.data import ReportData, Row
from sparkray.report.figures._frame import arm_lines, arm_points, legend_above, panels
from sparkray.report.style import INK, PAGE_IN, VERMILLION, arm_style

ORDER = 40
TABLES = ("order",)
SPEED = "output_throughput_tok_s"
_SIZE = {"markersize": 2.4}


def draw(data: ReportData) -> Figure | None:
    """Above: throughput in per cent of its cell's median. Below: temperature, where there was one to measure."""
    rows = [{**row, "place": place} for place, row in enumerate(data.rows("order"), 1)]
    ok = [row for row in rows if row["status"] == "ok" and row[SPEED] is not None]
    if not ok:
        return None
    warm = [row for row in rows if row["gpu_temp_max_c"] is not None]
    environments = arms_of(ok)
    figure, axes = panels(PAGE_IN, 3.4 if warm else 2.0, 2 if warm else 1, 1, sharex=True)
    _throughput(axes[0], ok, [row for row in rows if row["status"] != "ok"], environments)
    if warm:
        _temperature(axes[1], warm, environments)
    axes[-1].set_xlabel("run, in the order of the starts (1 = first)")
    legend_above(figure, arm_lines(environments))
    return figure


def _throughput(axis: Axes, ok: Sequence[Row], lost: Sequence[Row], environments: Sequence[str]) -> None:
    speeds: dict[tuple[str, str], list[float]] = {}
    for row in ok:
        speeds.setdefault((row["model"], row["level"]), []).append(row[SPEED])
    middles = {key: median(values) for key, values in speeds.items()}
    for name in environments:
        mine = [row for row in ok if row["environment"] == name]
        ys = [row[SPEED] / middles[row["model"], row["level"]] * 100 for row in mine]
        arm_points(axis, name, [row["place"] for row in mine], ys, **_SIZE)
    axis.axhline(100, color=INK, linewidth=0.5)
    if lost:
        xs, bottom = [row["place"] for row in lost], axis.get_ylim()[0]
        axis.plot(xs, [bottom] * len(lost), "x", color=VERMILLION, markersize=3.5, clip_on=False)
    axis.set_ylabel("throughput (% of the\nmodel's median)")
    axis.ticklabel_format(axis="y", useOffset=False)


def _temperature(axis: Axes, warm: Sequence[Row], environments: Sequence[str]) -> None:
    for name in environments:
        hollow = {"color": "white", "markeredgecolor": arm_style(name).colour, "markeredgewidth": 0.6}
        for column, style in (("gpu_temp_max_c", {}), ("gpu_temp_start_c", hollow)):
            mine = [row for row in warm if row["environment"] == name and row[column] is not None]
            arm_points(axis, name, [row["place"] for row in mine], [row[column] for row in mine], **_SIZE, **style)
    axis.set_ylabel("GPU temperature (°C)\nstart: hollow, highest: filled")
