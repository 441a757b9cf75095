"""Arms run one after the other instead of interleaved."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from sparkray.audit.case import Case, labels, reference_first, stretches
from sparkray.audit.finding import Finding, NotJudged

_LEAST_RUNS = 3
_RARE = 0.01


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where two arms of a model switch no more than once, or less often than 1 % of random orders would."""
    items: list[dict[str, Any]] = []
    rows: dict[str, None] = {}
    for model, frame in case.sequences:
        if frame["environment"].n_unique() == 1:
            continue
        ordered = case.orders[model]
        if ordered is None:
            yield NotJudged("blocked_order/unknown", {"model": model})
            continue
        for pair, item in _blocked(*ordered):
            items.append({"model": model, **item})
            rows |= dict.fromkeys(labels(pair))
    if items:
        yield Finding("blocked_order", {"items": items}, "grave", tuple(rows))


def _blocked(frame: pl.DataFrame, basis: str) -> Iterator[tuple[pl.DataFrame, dict[str, Any]]]:
    reference, *others = reference_first(frame["environment"].unique().to_list())
    for other in others:
        pair = frame.filter(pl.col("environment").is_in([reference, other]))
        order = pair["environment"].to_list()
        a, b, seen = order.count(reference), order.count(other), stretches(order)
        p = stretches_p(a, b, seen)
        if min(a, b) >= _LEAST_RUNS and (seen <= 2 or p < _RARE):  # noqa: PLR2004 - one switch
            item = {"a": a, "b": b, "stretches": seen, "p": p, "reference": reference, "other": other}
            yield pair, item | {"first": order[0], "basis": basis}


def stretches_p(a: int, b: int, seen: int) -> float:
    """Probability of so few stretches or fewer when a and b runs are in random order (Wald & Wolfowitz 1940)."""
    counts = np.arange(2, seen + 1)
    half, odd = counts // 2, counts % 2 == 1
    alike = np.where(odd, half + 1, half)  # stretches of the arm that begins
    ways = np.logaddexp(_log_ways(a, alike) + _log_ways(b, half), _log_ways(a, half) + _log_ways(b, alike))
    return float(np.exp(np.logaddexp.reduce(ways) - _log_choose(a + b, np.array(a))))


def _log_ways(runs: int, parts: np.ndarray) -> np.ndarray:
    """Log of the ways to cut so many runs into so many stretches."""
    return np.where(parts <= runs, _log_choose(runs - 1, np.minimum(parts, runs) - 1), -np.inf)


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # of factorials
    return np.asarray(logs[n] - logs[k] - logs[n - k])
