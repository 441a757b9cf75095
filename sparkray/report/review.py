"""An audit as a page for a colleague: the verdict, the gravest findings with a plot each, and what would settle them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparkray import __version__
from sparkray.audit.case import THROUGHPUT, Case, in_time_order, reference_first
from sparkray.audit.finding import Finding, Report
from sparkray.audit.wordlists import parsed_yaml
from sparkray.report.figures import rendered
from sparkray.report.figures._frame import arm_lines, arm_points, legend_above, panels, plain_ticks
from sparkray.report.labels import axis_label
from sparkray.report.page import html
from sparkray.report.render import inline_svg
from sparkray.report.style import INK, PAGE_IN, RC, VERMILLION

SHOWN = 3
_HEIGHT_IN, _MOST_PANELS, _LONG = 2.1, 3, 34
_FACES = ("native", "container_baseline", "host", "container_optimized")
_SHARED_SCALE = ("indistinguishable_models",)
_BY_LOAD = ("cold_level", "lost_requests")
_BY_STATE = {"thermal_state": "column", "memory_state": "column"}


@dataclass(frozen=True)
class Exhibit:
    """A finding with its plot, if rows show it, and what would settle it."""

    finding: Finding
    drawing: Markup | None
    about: str
    settle: str


def review(case: Case, report: Report, *, name: str, machine: str) -> str:
    """The page as HTML: it needs neither network nor script.

    Args:
        case: What was judged.
        report: The answers.
        name: Of the input, for people.
        machine: By which machine it was judged, for people.
    """
    exhibits = [exhibit(case, finding, f"exhibit{index}") for index, finding in enumerate(report.findings[:SHOWN], 1)]
    others = [(finding, settle(finding.code)) for finding in report.findings[SHOWN:]]
    worst = report.findings[0].gravity if report.findings else "none"
    counts = {gravity: sum(f.gravity == gravity for f in report.findings) for gravity in ("fatal", "grave", "note")}
    values = {"report": report, "results": case.results, "machine": machine, "name": name, "version": __version__}
    arms = reference_first(case.ok["environment"].unique().to_list())
    return html("audit.html.j2", **values, exhibits=exhibits, others=others, worst=worst, counts=counts, arms=arms)


def exhibit(case: Case, finding: Finding, name: str) -> Exhibit:
    """A finding with its plot."""
    metric = _metric_of(case, finding)
    rows = case.ok.filter(pl.col("row").is_in(list(finding.rows)))
    if metric is None or rows.is_empty() or not rows[metric].count():
        return Exhibit(finding, None, "", settle(finding.code))
    with mpl.rc_context(RC):
        by_load = finding.kind in _BY_LOAD and case.ok["batch"].n_unique() > 1
        figure = _by_load(case, rows, metric) if by_load else _by_run(case, rows, metric, finding)
    about = f"{axis_label(metric)} of each run; rows of the finding are solid, others pale"
    about = f"mean {axis_label(metric)} at each level of the load" if by_load else about
    svg = rendered(name, figure, ("svg",))["svg"].decode()
    return Exhibit(finding, inline_svg(name, svg, finding.kind.replace("_", " "), about), about, settle(finding.code))


def settle(code: str) -> str:
    """What would settle a finding by its code, else by its kind; empty where nothing is known to."""
    return _settles().get(code) or _settles().get(code.partition("/")[0], "")


@cache
def _settles() -> Mapping[str, str]:
    loaded: Mapping[str, str] = parsed_yaml(files(__package__) / "templates/settle.yaml")
    return loaded


def _metric_of(case: Case, finding: Finding) -> str | None:
    """The metric or state that shows a finding best: the one that it names, else the study's own."""
    named = [finding.values.get(key) for key in ("metric", "y", "ttft", "metrics", _BY_STATE.get(finding.kind, ""))]
    for value in named:
        for word in value if isinstance(value, list) else str(value or "").replace("(and", ",").split(","):
            if word.strip(" )") in case.ok.columns and case.ok.schema[word.strip(" )")].is_numeric():
                return str(word.strip(" )"))
    return case.results.primary


def _faces(case: Case) -> Mapping[str, str]:
    """The arm of sparkray's that each arm is drawn as, the reference first: marks that differ at a glance."""
    arms = reference_first(case.ok["environment"].unique().to_list())
    return {arm: _FACES[index] if index < len(_FACES) else arm for index, arm in enumerate(arms)}


def _legend(arms: Mapping[str, str]) -> list[Line2D]:
    handles = arm_lines(list(arms.values()))
    for handle, arm in zip(handles, arms, strict=True):
        handle.set_label(arm)
        handle.set_linestyle("none")
    return handles


def _groups(rows: pl.DataFrame, case: Case) -> list[tuple[str, pl.DataFrame]]:
    """The models and levels that most rows of the finding are of, with all of their rows that count."""
    counts = rows["model"].value_counts(sort=True)["model"].to_list()
    return [(model, case.ok.filter(pl.col("model") == model)) for model in sorted(counts[:_MOST_PANELS])]


def _by_run(case: Case, rows: pl.DataFrame, metric: str, finding: Finding) -> Figure:
    """A panel a model: the metric over the runs in their order, the rows of the finding filled, a bound as a line."""
    groups = _groups(rows, case)
    figure, axes = panels(PAGE_IN, _HEIGHT_IN, 1, len(groups), sharey=finding.kind in _SHARED_SCALE)
    arms = _faces(case)
    named = set(rows["row"].to_list())
    for axis, (model, frame) in zip(axes, groups, strict=True):
        ordered = in_time_order(frame)
        shown = frame if ordered is None else ordered
        places = np.arange(1, len(shown) + 1)
        for arm, face in arms.items():
            mine = shown["environment"].to_numpy() == arm
            flagged = np.array([row in named for row in shown["row"]])
            for chosen, style in ((mine & ~flagged, {"alpha": 0.3}), (mine & flagged, {"alpha": 1.0})):
                values = shown[metric].to_numpy()[chosen]
                arm_points(
                    axis, face, places[chosen].tolist(), values.tolist(), markersize=3.2, linestyle="none", **style
                )
        if (
            finding.kind == "beyond_roofline"
            and len(groups) == 1
            and isinstance(bound := finding.values.get("bound"), float)
        ):
            axis.axhline(bound, color=VERMILLION, linewidth=1.2)
            axis.annotate(f"bound {bound:.4g}", (1, bound), va="bottom", color=VERMILLION, fontsize=7)
            axis.set_ylim(bottom=0)
        _name_axes(axis, model, metric, "run, in order of time" if ordered is not None else "row")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    legend_above(figure, _legend(arms))
    return figure


def _by_load(case: Case, rows: pl.DataFrame, metric: str) -> Figure:
    """Throughput over the load, a line an arm, and what would be proportional to the second level."""
    names = rows["model_name"].unique().sort().to_list()[:_MOST_PANELS]
    metric = THROUGHPUT if THROUGHPUT in case.metrics else metric
    figure, axes = panels(PAGE_IN, _HEIGHT_IN, 1, len(names))
    arms = _faces(case)
    for axis, name in zip(axes, names, strict=True):
        frame = case.ok.filter((pl.col("model_name") == name) & pl.col("batch").is_not_null()).drop_nulls(metric)
        for arm, face in arms.items():
            means = (
                frame.filter(pl.col("environment") == arm).group_by("batch").agg(pl.col(metric).mean()).sort("batch")
            )
            arm_points(axis, face, means["batch"].to_list(), means[metric].to_list(), linestyle="-", markersize=4)
        if frame["batch"].n_unique() > 1:
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            ticks = frame["batch"].unique().sort().to_list()
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.minorticks_off()
        _name_axes(axis, name, metric, "sequences in flight", plain=False)
    legend_above(figure, _legend(arms))
    return figure


def _name_axes(axis: Any, title: str, metric: str, x: str, *, plain: bool = True) -> None:  # noqa: ANN401 - matplotlib's
    axis.set_title(title if len(title) <= _LONG else f"{title[: _LONG - 1]}…", color=INK)
    axis.set_xlabel(x)
    axis.set_ylabel(axis_label(metric))
    if plain:
        plain_ticks(axis, "y")
        plain_ticks(axis, "x")
