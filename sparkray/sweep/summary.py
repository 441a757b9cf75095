"""The answer for the terminal, from rows of comparisons. Words are in `templates/summary.txt.j2`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from sparkray.analysis import Analysis, cell_name
from sparkray.analysis.arm_files import bits_of
from sparkray.analysis.decisions import decision_rows, is_memory
from sparkray.analysis.differences import is_estimated
from sparkray.analysis.frames import rank
from sparkray.analysis.knee import about_knees
from sparkray.metrics import RECORDED
from sparkray.report.format import shown
from sparkray.schema import unit_of
from sparkray.sweep.show import print_line
from sparkray.sweep.templates import SHORT, arm, heading, rendered, short

Row = Mapping[str, Any]
_MOST_ROWS = 4
_UNKNOWN = dict.fromkeys(
    ("judged_by", "difference", "ratio", "low", "high", "verdict", "margin", "pairs_needed", "not_estimable", "n")
)
_NOTHING: Row = dict.fromkeys(("calibration", "counts", "simulated", "dataset"))
_WIDE_PCT, _MIDDLE_PCT = 20.0, 2.0


@dataclass(frozen=True)
class Findings:
    """What a summary shows.

    Attributes:
        comparisons: Rows of the analysis: model, environment, against, metric, better, primary, n, ratio, low, high,
            verdict, margin, pairs_needed, not_estimable.
        means: Mean by model, environment and metric.
        warnings: How often each check warned, by its name.
        equal: Equivalent environments (`sweep.equivalence`); those that were not measured are listed.
        interim: What interim analyses decided, a line each.
        knees: Rows of the table `knee`.
        files: Digests and images by environment (`analysis.arm_files`).
    """

    comparisons: Sequence[Row]
    means: Mapping[tuple[str, str, str], float | None]
    warnings: Mapping[str, int] = field(default_factory=dict)
    equal: Sequence[Row] = ()
    interim: Sequence[str] = ()
    knees: Sequence[Row] = ()
    files: Mapping[str, Row] = field(default_factory=dict)


def warnings_of(checks: Iterable[Row]) -> dict[str, int]:
    """How often each check warned, the most frequent first."""
    return dict(Counter(row["check"] for row in checks if row["verdict"] == "warn").most_common())


def findings_of(analysis: Analysis) -> Findings:
    """What a summary shows of an analysis."""
    rows = [{**row, "model": cell_name(row)} for row in analysis.tables["comparisons"].iter_rows(named=True)]
    described = analysis.tables["descriptive"].iter_rows(named=True)
    warned = {
        row["check"]: row["count"]
        for row in analysis.tables["checks"].iter_rows(named=True)
        if row["verdict"] == "warn"
    }
    return Findings(
        rows,
        {(cell_name(row), row["environment"], row["metric"]): row["mean"] for row in described},
        dict(sorted(warned.items(), key=lambda item: -item[1])),
        knees=about_knees(analysis.tables["knee"].iter_rows(named=True)),
        files=analysis.context["adherence"]["files"],
    )


def summary_lines(findings: Findings, **more: object) -> list[str]:
    """The verdict first, then at most nine lines for one model and two environments.

    Args:
        findings: What to show.
        more: What stands below it, where there is any: `calibration`, `counts`, `simulated`, `dataset`.
    """
    equal = [row for row in findings.equal if not row["measured"]]
    values = {
        "warnings": findings.warnings,
        "equal": equal,
        "interim": findings.interim,
        "knees": findings.knees,
        "files": findings.files,
        "bits": bits_of(findings.files),
        **_NOTHING,
        **more,
    }
    lines = rendered("summary.txt.j2", arms=_arms(findings), **values)
    return [line[0].upper() + line[1:] for line in lines]


def show_summary(findings: Findings, out: Console, **more: object) -> None:
    """The summary on a terminal; see `summary_lines`."""
    for line in summary_lines(findings, **more):
        print_line(out, line, style="bold" if line.startswith("SIMULATED") else None)


def _arms(findings: Findings) -> list[dict[str, Any]]:
    """Each environment against its reference, with its models."""
    every = [{**_UNKNOWN, **row} for row in findings.comparisons]
    keys = dict.fromkeys((row["environment"], row["against"]) for row in every)
    several = len(keys) > 1
    found = []
    for environment, against in sorted(keys, key=lambda key: rank(key[0])):
        rows = [r for r in every if (r["environment"], r["against"]) == (environment, against)]
        models = [_model(findings, name, rows, several=several) for name in dict.fromkeys(r["model"] for r in rows)]
        known = [m["first"] for m in models if m["first"] and m["first"]["ratio"] is not None]
        found.append(
            {
                "name": arm(environment),
                "against": arm(against),
                "models": models,
                "low": min(known, key=lambda r: r["ratio"])["change"] if known else None,
                "high": max(known, key=lambda r: r["ratio"])["change"] if known else None,
                "pairs": min((r["n"] for r in known), default=0),
            }
        )
    return found


def _model(findings: Findings, model: str, rows: Sequence[Row], *, several: bool) -> dict[str, Any]:
    """One model: its rows, and what the decision rule of the analysis makes of the primary ones."""
    mine = [row for row in rows if row["model"] == model]
    primary = [{**row, "level": "", "trace": "", "primary": True} for row in mine if row["primary"]]
    (decided, *_) = decision_rows({"comparisons": primary, "descriptive": []}) or [{"reason": "no_speed_metric"}]
    metrics = list(dict.fromkeys(row["metric"] for row in (*primary, *(r for r in mine if r["metric"] in SHORT))))
    served = any(row["metric"] in RECORDED for row in primary)  # its start and its latencies are what it is about
    if several and not served:  # two tables are to fit where one does: speed and memory
        metrics = list({is_memory(name): name for name in reversed(metrics)}.values())
        metrics.sort(key=is_memory)
    by_metric = {row["metric"]: _shown(findings, row) for row in mine}
    first = next((by_metric[row["metric"]] for row in (*primary, *mine) if not is_memory(row["metric"])), None)
    margins = [row["margin"] for row in primary if row["margin"] is not None and not is_memory(row["metric"])]
    return {
        "model": model,
        "first": first,
        "rows": [by_metric[name] for name in metrics[:_MOST_ROWS]],
        "reason": decided["reason"],
        "estimated": any(is_estimated(row) for row in primary),
        "margin": max(margins, default=None),
        "words": f"{decided['reason']} {max(margins, default=0)}",
    }


def _shown(findings: Findings, row: Row) -> dict[str, Any]:
    """A row with what a reader sees of it."""
    metric = row["metric"]
    ends = _changes(row)
    return {
        **row,
        "label": short(metric),
        "heading": heading(metric),
        "there": findings.means.get((row["model"], row["against"], metric)),
        "here": findings.means.get((row["model"], row["environment"], metric)),
        **dict(zip(("change", "change_low", "change_high"), ends, strict=True)),
    }


def _changes(row: Row) -> tuple[str, ...]:
    """Ratio and interval as signed per cent, as many decimals as the interval's width warrants; a difference in its unit."""
    if row["difference"] is not None:
        ends = [row[name] for name in ("difference", "difference_low", "difference_high")]
        return tuple(f"{shown(value, 'difference')} {unit_of(row['metric'])}" for value in ends)
    if row["ratio"] is None:
        return ("", "", "")
    values = [100 * (row[name] - 1) for name in ("ratio", "low", "high")]
    width = values[2] - values[1]
    decimals = 0 if width >= _WIDE_PCT else 1 if width >= _MIDDLE_PCT else 2
    return tuple(f"{value:+,.{decimals}f} %" for value in values)
