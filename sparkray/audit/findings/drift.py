"""Drift and autocorrelation inside blocks: how many independent runs there really are."""

from collections.abc import Iterable, Iterator

import numpy as np

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, interleaved
from sparkray.audit.family import families, told
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.stats.samples import varies
from sparkray.stats.serial import Memory, effective_n, memory, pooled_lag1_p, trend_p

_LEVEL = 0.01
_LEAST_RUNS = 5


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """A trend within cells (Kendall) and lag-1 autocorrelation pooled over cells (Moran), at 1 % over all tests.

    Grave where an arm was measured in one stretch, a note where arms are interleaved (there the drift is common to a pair)
    and where there is but one. Statistics of one quantity are one finding, told by the one that shows it best.
    """
    ordered = [cell for cell in case.cells if cell.in_time_order]
    for cell in case.cells:
        if not cell.in_time_order:
            yield NotJudged("drift", f"{cell.name}: nothing tells the order of its runs")
        elif len(cell.frame) < _LEAST_RUNS:
            yield NotJudged("drift", f"{cell.name}: {len(cell.frame)} runs are too few to see drift")
    gravity: Gravity = "note" if interleaved(case) else "grave"
    metrics = distinct_metrics(case)
    yield from _trends(metrics, ordered, gravity)
    yield from _autocorrelation(metrics, ordered, gravity)


def _trends(metrics: tuple[str, ...], cells: list[Cell], gravity: Gravity) -> Iterator[Finding]:
    tested = {
        metric: [(cell, trend_p(cell.values(metric))) for cell in cells if _can_tell(cell, metric)]
        for metric in metrics
    }
    count = sum(map(len, tested.values()))
    moved = {
        metric: seen for metric in metrics if (seen := [(cell, p) for cell, p in tested[metric] if p * count < _LEVEL])
    }
    for members in families(moved):
        best = min(members, key=lambda metric: min(p for _, p in moved[metric]))
        yield Finding(
            "drift",
            gravity,
            f"{told(best, members)} drifts from run to run within its cell: the mean depends on how long was measured",
            "; ".join(_moved(cell, best, p) for cell, p in moved[best]),
            _rows(cell for metric in members for cell, _ in moved[metric]),
        )


def _rows(cells: Iterable[Cell]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row for cell in cells for row in cell.rows))


def _moved(cell: Cell, metric: str, p: float) -> str:
    values = cell.values(metric)
    thirds = max(1, len(values) // 3)
    first, last = float(np.mean(values[:thirds])), float(np.mean(values[-thirds:]))
    return f"{cell.name}: {first:.4g} in the first third, {last:.4g} in the last (Kendall p = {p:.1g})"


def _autocorrelation(metrics: tuple[str, ...], cells: list[Cell], gravity: Gravity) -> Iterator[Finding]:
    pooled = {
        metric: pooled_lag1_p([found for cell in cells if (found := _memory(cell, metric))]) for metric in metrics
    }
    seen = {metric: found for metric, found in pooled.items() if found and found[1] * len(metrics) < _LEVEL}
    for members in families(seen):
        best = min(members, key=lambda metric: seen[metric][1])
        mean, p = seen[best]
        varied = [cell for cell in cells if _can_tell(cell, best)]
        sizes = "; ".join(f"{cell.name}: {_worth(len(cell.values(best)), mean)}" for cell in varied)
        yield Finding(
            "autocorrelation",
            gravity,
            f"runs in a row resemble each other in {told(best, members)}: they are not independent, intervals that "
            "take them so are too narrow, and the block is what must be repeated",
            f"mean lag-1 autocorrelation {mean:.2f} over {len(varied)} cells (p = {p:.1g}); effective sample sizes: {sizes}",
            _rows(varied),
        )


def _worth(runs: int, lag_1: float) -> str:
    return f"{runs} runs as good as {effective_n(runs, lag_1):.1f}"


def _can_tell(cell: Cell, metric: str) -> bool:
    values = cell.values(metric)
    return len(values) >= _LEAST_RUNS and varies(values)


def _memory(cell: Cell, metric: str) -> Memory | None:
    found = memory(cell.values(metric)) if _can_tell(cell, metric) else None
    return found if isinstance(found, Memory) else None
