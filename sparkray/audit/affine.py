"""Redundant metrics: pairs where one is an affine function of the other to within rounding. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sparkray.audit.case import THROUGHPUT, Case
from sparkray.stats.samples import varies

_LEAST_ROWS = 6
_LEAST_DISTINCT = 5
_NEGLIGIBLE = 1e-3
_SPEED = ("throughput", "latency", "ttft", "itl", "duration")


@dataclass(frozen=True)
class Affine:
    """`y = slope * x + intercept` over `rows`, with the greatest residual in the unit of y."""

    x: str
    y: str
    slope: float
    intercept: float
    residual: float
    rows: tuple[str, ...]


def affine_pairs(case: Case) -> Iterator[Affine]:
    """Pairs of metrics with an sd of the residual below a thousandth of the sd itself, over 5 values or more.

    Measures of speed against each other do not count: throughput in tokens and in requests are one count by definition,
    and nobody takes them for two effects.
    """
    for a, b in combinations(case.metrics, 2):
        if _is_speed(a) and _is_speed(b):
            continue
        x, y = (a, b) if not b.startswith("engine_reported") else (b, a)
        pair = _fit(case, x, y)
        if pair is not None:
            yield pair


def distinct_metrics(case: Case) -> tuple[str, ...]:
    """Metrics without those that repeat another one: tests over them count no effect twice."""
    twice = {pair.y for pair in affine_pairs(case)}
    if THROUGHPUT in case.metrics:
        twice.add("request_throughput_req_s")
    return tuple(name for name in case.metrics if name not in twice)


def _is_speed(metric: str) -> bool:
    return any(word in metric for word in _SPEED)


def _fit(case: Case, x_name: str, y_name: str) -> Affine | None:
    both = case.ok.drop_nulls([x_name, y_name])
    x, y = both[x_name].to_numpy(), both[y_name].to_numpy()
    if len(both) < _LEAST_ROWS or not (varies(x) and varies(y)):
        return None
    if min(len(np.unique(x)), len(np.unique(y))) < _LEAST_DISTINCT:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    sx, sy = np.max(np.abs(dx)), np.max(np.abs(dy))
    u, v = dx / sx, dy / sy
    steep = float(np.sum(u * v) / np.sum(u * u))
    residuals = v - steep * u
    if np.std(residuals) > _NEGLIGIBLE * np.std(v):
        return None
    slope = steep * float(sy) / float(sx)
    residual = float(np.max(np.abs(residuals)) * sy)
    return Affine(x_name, y_name, slope, float(y.mean() - slope * x.mean()), residual, tuple(both["row"].to_list()))
