"""Tables by cell: descriptive statistics, diagnostics over the order of runs, and memory by kind."""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparkray.analysis.frames import Cell, CellRuns, Frames
from sparkray.analysis.powered import power_checked
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, filled, note
from sparkray.analysis.schema import MEMORY_PARTS
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.components import crossed
from sparkray.stats.descriptive import Summary, least_for_ends, mean_interval, summaries
from sparkray.stats.outliers import outliers
from sparkray.stats.reasons import coded
from sparkray.stats.samples import Estimate, Vector, median
from sparkray.stats.serial import TOO_FEW, Drift, Memory, drifts, memories

_LEAST_ARMS = 2
_ONE = "one_run"
_QUANTILES = {"median": 0.5, "p5": 0.05, "p95": 0.95, "p99": 0.99}
# Where the columns of an interval's ends are not named as the estimate's.
_ENDS = {"geometric_mean": "geometric"}
_SHARES = ("share_between_blocks_pct", "share_within_pct", "share_run_request_pct")
# The metrics that are means over requests, and of what.
OF_REQUESTS: Mapping[str, str] = {"latency_mean_ms": "latency_ms", "ttft_mean_ms": "ttft_ms"}
Row = dict[str, Any]


def why_none(frames: Frames, cell: Cell) -> NotEstimable:
    """Why a cell has no value."""
    if len(frames.runs_of(cell)):
        return NotEstimable("no_value_in_cell")
    of_cell = frames.attempts.filter(pl.all_horizontal(pl.col(name) == value for name, value in cell.columns.items()))
    counts = of_cell.group_by("status").len().sort("status")
    listed = ", ".join(f"{count} {status}" for status, count in counts.iter_rows())
    return NotEstimable.of("no_ok_run", statuses=listed or "none was made")


def description_rows(frames: Frames, metrics: Sequence[str]) -> list[Row]:
    """`descriptive` of every cell and metric."""
    places = [(cell, metric) for cell in frames.cells for metric in metrics]
    values = [frames.runs_of(cell).of(metric) for cell, metric in places]
    every = zip(places, values, summaries(values), strict=True)
    return [_description(frames, *place, len(one), found) for place, one, found in every]


def _description(frames: Frames, cell: Cell, metric: str, n: int, found: Summary | NotEstimable) -> Row:
    head: Row = {
        **cell.columns,
        "metric": metric,
        "trace": provenance_id("descriptive", *cell.columns.values(), metric),
    }
    head["power_checked"] = power_checked(frames, (cell,), metric)
    if not n:
        return {**head, **_nothing(frames, cell)}
    if isinstance(found, NotEstimable):
        return {**head, "n": n, "not_estimable": found.reason}
    row = dict(head)
    for name, value in vars(found).items():
        if isinstance(value, Estimate):
            row |= _interval(name, _ENDS.get(name, name), value)
        elif not isinstance(value, NotEstimable):
            row[name] = value
    return row | {"why_null": as_text(_why_null(row, found))}


def _interval(name: str, ends: str, estimate: Estimate) -> Row:
    return {name: estimate.value, f"{ends}_low": estimate.low, f"{ends}_high": estimate.high}


def _why_null(row: Row, found: Summary) -> Why:
    """Why a description has no number somewhere."""
    why: Why = {}
    if isinstance(found.geometric_mean, NotEstimable):
        note(why, ("geometric_mean", "geometric_low", "geometric_high"), found.geometric_mean)
    elif found.n == 1:
        note(why, ("geometric_low", "geometric_high"), _ONE)
    if found.sd is None:
        note(why, ("mean_low", "mean_high", "sd", "cv_pct"), _ONE)
    elif found.cv_pct is None:
        note(why, ("cv_pct",), "mean_0")
    for name, q in _QUANTILES.items():
        for end, least in zip(("low", "high"), least_for_ends(q), strict=True):
            if row[f"{name}_{end}"] is None:
                what = "median" if name == "median" else f"{name[1:]}th percentile"
                note(why, (f"{name}_{end}",), coded(f"few_for_{end}", what=what, least=least, n=found.n))
    return why


def memory_rows(frames: Frames) -> list[Row]:
    """`memory`: every part of every cell that has it."""
    rows: list[Row] = []
    for cell in frames.cells:
        for part in MEMORY_PARTS:
            values = frames.runs_of(cell).of(part)
            if len(values):
                mean = mean_interval(values)
                numbers = {"mean": mean.value, "low": mean.low, "high": mean.high, "n": len(values)}
                trace = provenance_id("memory", *cell.columns.values(), part)
                rows.append({**cell.columns, "part": part, **numbers, "trace": trace})
    return rows


def diagnostic_rows(frames: Frames, metrics: list[str], request_shares: Mapping[tuple[Cell, str], float]) -> list[Row]:
    """`diagnostics` of every cell and metric.

    Args:
        frames: The dataset.
        metrics: Which metrics.
        request_shares: By cell and metric, what single requests leave in a run's mean.
    """
    families = [(cells, metric) for cells in _families(frames).values() for metric in metrics]
    series = [_series(frames, cell, metric) for cells, metric in families for cell in cells]
    values_alone = [values for values, _ in series]
    known = iter(zip(values_alone, drifts(series), memories(values_alone), outliers(values_alone), strict=True))
    rows: list[Row] = []
    for cells, metric in families:
        lost: Why = {}
        shares = _shares(frames, cells, metric, request_shares, why=lost)
        for cell in cells:
            found, why = next(known), dict(lost)
            behaviour = _behaviour(*found, metric=metric, why=why) if len(found[0]) else _nothing(frames, cell)
            trace = provenance_id("diagnostics", *cell.columns.values(), metric)
            head = {**cell.columns, "metric": metric, "trace": trace}
            rows.append({**head, **behaviour, **shares, "why_null": as_text(why)})
    return rows


def _nothing(frames: Frames, cell: Cell) -> Row:
    return {"n": 0, "not_estimable": why_none(frames, cell).reason}


def _series(frames: Frames, cell: Cell, metric: str) -> tuple[Vector, Vector]:
    """The values that there are of one metric in the order in which runs were made, and their places in it."""
    runs = frames.runs_of(cell)
    in_time = np.argsort(runs.order)
    values, places = runs.column(metric)[in_time], runs.order[in_time]
    there = ~np.isnan(values)
    return values[there], places[there]


def _families(frames: Frames) -> dict[tuple[str, str], list[Cell]]:
    """Cells that share blocks: those of one model and level."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in frames.cells:
        found.setdefault((cell.model, cell.level), []).append(cell)
    return found


def _behaviour(
    values: Vector,
    trend: Drift | NotEstimable,
    past: Memory | NotEstimable,
    apart: tuple[int, ...] | NotEstimable,
    *,
    metric: str,
    why: Why,
) -> Row:
    """Drift, memory of the run before, and outliers of one metric, in the order in which runs were made."""
    row: Row = {"n": len(values)}
    if isinstance(trend, NotEstimable) and isinstance(past, NotEstimable) and isinstance(apart, NotEstimable):
        row["not_estimable"] = trend.reason
    row |= series_columns(trend, past, ("drift_pct_per_run", "drift_p", "lag1", "effective_n"), why)

    def counted(places: Collection[int]) -> tuple[int, bool]:
        return len(places), 0 in places and _worse(values, metric)

    return row | filled(("outliers", "first_run_slow"), apart, counted, why)


def series_columns(trend: Drift | NotEstimable, past: Memory | NotEstimable, names: Sequence[str], why: Why) -> Row:
    """Trend of a series (slope in per cent, p), then its lag-1 autocorrelation and effective number of values."""
    row = filled(names[:2], trend, lambda found: (found.pct_per_run.value, found.p), why)
    row |= filled(names[2:], past, lambda found: (found.lag1, found.effective_n), why)
    if not isinstance(past, NotEstimable) and past.effective_n is None:
        note(why, names[3:], TOO_FEW)
    return row


def _worse(values: Vector, metric: str) -> bool:
    """Whether the first value lies on the bad side of the middle; either side where neither is better."""
    better = BY_NAME[metric].better
    above = bool(values[0] > median(values))
    return better == "neither" or above == (better == "lower")


def _shares(
    frames: Frames, cells: list[Cell], metric: str, request_shares: Mapping[tuple[Cell, str], float], *, why: Why
) -> Row:
    """Variance components over the blocks that have every environment with data; nothing where there is but one."""
    sides = [side for cell in cells if len((side := _side(frames.runs_of(cell), metric))[0])]
    if len(sides) < _LEAST_ARMS:
        note(why, _SHARES, "one_environment_with_data")
        return {}
    first = sides[0][0]
    alike = all(np.array_equal(block, first) for block, _ in sides[1:])  # as a rule; intersections take long
    shared = first if alike else reduce(np.intersect1d, [block for block, _ in sides])
    table = np.column_stack([values[np.searchsorted(block, shared)] for block, values in sides])
    known = [share for cell in cells if (share := request_shares.get((cell, metric))) is not None]
    found = crossed(table, request_share=float(np.mean(known)) if known else None)
    if not isinstance(found, NotEstimable) and found.requests is None:
        note(why, _SHARES[-1:], "requests_unknown" if metric in OF_REQUESTS else "no_requests_of_metric")
    return filled(_SHARES, found, lambda components: components.shares_pct, why)


def _side(runs: CellRuns, metric: str) -> tuple[NDArray[np.int64], Vector]:
    """Blocks that have a value, ascending, and the values."""
    column = runs.column(metric)
    there = ~np.isnan(column)
    return runs.block[there], column[there]
