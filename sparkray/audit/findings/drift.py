"""Drift and autocorrelation inside blocks: how many independent runs there really are."""

from collections.abc import Iterator

import numpy as np

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, interleaved
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.audit.serial import effective_n, lag1, pooled_lag1_p, trend_p

_LEVEL = 0.01
_LEAST_RUNS = 5


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """A trend within cells (Kendall) and lag-1 autocorrelation pooled over cells (Moran), at 1 % over all tests.

    Grave where an arm was measured in one stretch, a note where arms are interleaved: there the drift is common to a pair.
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
    tested = [
        (metric, cell, p) for metric in metrics for cell in cells if (p := trend_p(cell.values(metric))) is not None
    ]
    for metric in dict.fromkeys(metric for metric, _, _ in tested):
        moved = [(cell, p) for name, cell, p in tested if name == metric and p * len(tested) < _LEVEL]
        if moved:
            yield Finding(
                "drift",
                gravity,
                f"{metric} drifts from run to run within its cell: the mean depends on how long was measured",
                "; ".join(_moved(cell, metric, p) for cell, p in moved),
                tuple(row for cell, _ in moved for row in cell.rows),
            )


def _moved(cell: Cell, metric: str, p: float) -> str:
    values = cell.values(metric)
    thirds = max(1, len(values) // 3)
    first, last = float(np.mean(values[:thirds])), float(np.mean(values[-thirds:]))
    return f"{cell.name}: {first:.4g} in the first third, {last:.4g} in the last (Kendall p = {p:.1g})"


def _autocorrelation(metrics: tuple[str, ...], cells: list[Cell], gravity: Gravity) -> Iterator[Finding]:
    for metric in metrics:
        sequences = [(cell, cell.values(metric)) for cell in cells]
        pooled = pooled_lag1_p([values for _, values in sequences])
        if pooled is None or pooled[1] * len(metrics) >= _LEVEL:
            continue
        told = [(cell, values) for cell, values in sequences if lag1(values) is not None]
        sizes = "; ".join(
            f"{cell.name}: {len(v)} runs as good as {effective_n(len(v), pooled[0]):.1f}" for cell, v in told
        )
        yield Finding(
            "autocorrelation",
            gravity,
            f"runs in a row resemble each other in {metric}: they are not independent, intervals that take them so are "
            "too narrow, and the block is what must be repeated",
            f"mean lag-1 autocorrelation {pooled[0]:.2f} over {len(told)} cells (p = {pooled[1]:.1g}); effective sample "
            f"sizes: {sizes}",
            tuple(row for cell, _ in told for row in cell.rows),
        )
