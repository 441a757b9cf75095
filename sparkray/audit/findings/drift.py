"""Drift and autocorrelation inside blocks: how many independent runs there really are."""

from collections.abc import Iterator, Sequence

import numpy as np

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, interleaved, rows_of
from sparkray.audit.family import families
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.stats.samples import varies
from sparkray.stats.serial import Memory, effective_n, may_trend, memory, pooled_lag1_p, trend_p

_LEVEL = 0.01
_LEAST_RUNS = 5


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """A trend within cells (Kendall) and lag-1 autocorrelation pooled over cells (Moran), at 1 % over all tests.

    Grave where an arm was measured in one stretch, a note where arms are interleaved (there the drift is common to a pair)
    and where there is but one. Statistics of one quantity are one finding, worded by the one that shows it best.
    """
    for cell in case.series:
        if not cell.in_time_order:
            yield NotJudged("drift/order", {"cell": cell.name_in_series})
        elif len(cell.frame) < _LEAST_RUNS:
            yield NotJudged("drift/few", {"cell": cell.name_in_series, "runs": len(cell.frame)})
    gravity: Gravity = "note" if interleaved(case) else "grave"
    metrics = distinct_metrics(case)
    varying = {metric: [cell for cell in case.series if _usable(cell, metric)] for metric in metrics}
    yield from _trends(varying, gravity)
    yield from _autocorrelation(varying, gravity)


def _usable(cell: Cell, metric: str) -> bool:
    values = cell.values(metric)
    return cell.in_time_order and len(values) >= _LEAST_RUNS and varies(values)


def _trends(varying: dict[str, list[Cell]], gravity: Gravity) -> Iterator[Finding]:
    count = sum(map(len, varying.values()))
    moved = {metric: clear for metric, cells in varying.items() if (clear := _clear_trends(cells, metric, count))}
    for best, label, members in families({metric: min(p for _, p in pairs) for metric, pairs in moved.items()}):
        items = [_thirds(cell.values(best)) | {"cell": cell.name_in_series, "p": p} for cell, p in moved[best]]
        rows = rows_of(cell for metric in members for cell, _ in moved[metric])
        yield Finding("drift", {"metrics": label, "items": items}, gravity, rows)


def _clear_trends(cells: Sequence[Cell], metric: str, tests: int) -> list[tuple[Cell, float]]:
    """Cells with a trend that is clear among so many tests, and its p."""
    level = _LEVEL / max(1, tests)
    likely = [cell for cell in cells if may_trend(cell.values(metric), level)]
    return [(cell, p) for cell in likely if (p := trend_p(cell.values(metric))) < level]


def _thirds(values: np.ndarray) -> dict[str, object]:
    third = max(1, len(values) // 3)
    return {"first": float(np.mean(values[:third])), "last": float(np.mean(values[-third:]))}


def _autocorrelation(varying: dict[str, list[Cell]], gravity: Gravity) -> Iterator[Finding]:
    pooled = {metric: pooled_lag1_p(_memories(cells, metric)) for metric, cells in varying.items()}
    clear = {metric: test for metric, test in pooled.items() if test and test[1] * len(varying) < _LEVEL}
    for best, label, _ in families({metric: p for metric, (_, p) in clear.items()}):
        (lag1, p), cells = clear[best], varying[best]
        sizes = [(cell.name_in_series, len(cell.values(best))) for cell in cells]
        items = [{"cell": name, "runs": runs, "effective_n": effective_n(runs, lag1)} for name, runs in sizes]
        values = {"metrics": label, "lag1": lag1, "p": p, "cells": len(cells), "items": items}
        yield Finding("autocorrelation", values, gravity, rows_of(cells))


def _memories(cells: Sequence[Cell], metric: str) -> list[Memory]:
    return [past for cell in cells if isinstance(past := memory(cell.values(metric)), Memory)]
