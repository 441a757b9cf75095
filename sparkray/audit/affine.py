"""Redundant metrics: pairs where one is an affine function of the other to within rounding. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from sparkray.audit.case import THROUGHPUT, Case
from sparkray.stats.samples import Vector, varies

_LEAST_ROWS = 6
_LEAST_DISTINCT = 5
_NEGLIGIBLE = 1e-3
_PAIRS = "affine pairs"
_SPEED = ("throughput", "latency", "ttft", "tpot", "itl", "duration", "goodput", "time_to_first")


@dataclass(frozen=True)
class Affine:
    """`y = slope * x + intercept` over `rows`, with the greatest residual in the unit of y."""

    x: str
    y: str
    slope: float
    intercept: float
    residual: float
    rows: tuple[str, ...]


def affine_pairs(case: Case) -> tuple[Affine, ...]:
    """Pairs of metrics with an sd of the residual below a thousandth of the sd itself, over 5 values or more.

    Measures of speed against each other do not count: throughput in tokens and in requests are one count by definition,
    and nobody takes them for two effects.
    """
    if _PAIRS not in case.derived:
        case.derived[_PAIRS] = tuple(_pairs(case))
    pairs: tuple[Affine, ...] = case.derived[_PAIRS]
    return pairs


def distinct_metrics(case: Case) -> tuple[str, ...]:
    """Metrics without those that repeat another one: tests over them count no effect twice."""
    twice = {pair.y for pair in affine_pairs(case)}
    if THROUGHPUT in case.metrics:
        twice.add("request_throughput_req_s")
    return tuple(name for name in case.metrics if name not in twice)


def _pairs(case: Case) -> Iterator[Affine]:
    columns = {name: case.ok[name].to_numpy() for name in case.metrics}
    for a, b in combinations(columns, 2):
        if _is_speed(a) and _is_speed(b):
            continue
        x, y = (a, b) if not b.startswith("engine_reported") else (b, a)
        both = ~(np.isnan(columns[x]) | np.isnan(columns[y]))
        line = _fit(columns[x][both], columns[y][both])
        if line is not None:
            rows = case.ok["row"].filter(pl.Series(both)).to_list()
            yield Affine(x, y, *line, tuple(rows))


def _is_speed(metric: str) -> bool:
    return any(word in metric for word in _SPEED)


def _fit(x: Vector, y: Vector) -> tuple[float, float, float] | None:
    """Slope, intercept and greatest residual of y over x; None where it is no line, or too few values show one."""
    if len(x) < _LEAST_ROWS or not (varies(x) and varies(y)):
        return None
    dx, dy = x - x.mean(), y - y.mean()
    sx, sy = np.max(np.abs(dx)), np.max(np.abs(dy))
    u, v = dx / sx, dy / sy
    steep = float(np.sum(u * v) / np.sum(u * u))
    residuals = v - steep * u
    if np.std(residuals) > _NEGLIGIBLE * np.std(v) or min(len(np.unique(x)), len(np.unique(y))) < _LEAST_DISTINCT:
        return None
    slope = steep * float(sy) / float(sx)
    return slope, float(y.mean() - slope * x.mean()), float(np.max(np.abs(residuals)) * sy)
