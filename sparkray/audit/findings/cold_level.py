"""A first level of the load that holds the warm-up: it is slower than any higher level explains."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sparkray.audit.case import THROUGHPUT, Case, Cell, rows_of
from sparkray.audit.finding import Finding, NotJudged

_LATENCIES = ("latency_mean_ms", "latency_p50_ms", "ttft_mean_ms", "ttft_p50_ms")
# Throughput cannot rise faster than the load, and a request does not get faster by company.
_SUPERLINEAR, _LATENCY_FALLS = 1.3, 2.0


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where the throughput grows 1.3 times as fast as the load from the lowest level to the next, in an arm.

    At a lower load a sequence shares the machine with fewer others, so that the speed of each is at least as high: a first
    level that is slower had something else to do (compiling, loading, filling caches).
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in case.cells:
        if cell.batch is not None and len(cell.values(THROUGHPUT)):
            groups.setdefault((str(cell.frame["model_name"][0]), cell.environment), []).append(cell)
    several = {key: _by_load(cells) for key, cells in groups.items()}
    if not any(len(cells) > 1 for cells in several.values()):
        yield NotJudged("cold_level/one")
        return
    cold = {key: cells for key, cells in several.items() if len(cells) > 1 and _is_cold(*cells[:2])}
    if cold:
        items = [_item(key, cells) for key, cells in cold.items()]
        yield Finding("cold_level", {"items": items}, "grave", rows_of(cells[0] for cells in cold.values()))


def _by_load(cells: Sequence[Cell]) -> list[Cell]:
    """One cell a load, by load; where other parameters make several of one load, none is the first."""
    loads = [cell.batch for cell in cells]
    return sorted(cells, key=lambda cell: cell.batch or 0) if len(set(loads)) == len(loads) else []


def _is_cold(first: Cell, second: Cell) -> bool:
    load = (second.batch or 1) / (first.batch or 1)
    return _mean(second, THROUGHPUT) > _SUPERLINEAR * load * _mean(first, THROUGHPUT)


def _mean(cell: Cell, metric: str) -> float:
    return float(np.mean(cell.values(metric)))


def _item(key: tuple[str, str], cells: Sequence[Cell]) -> dict[str, Any]:
    first, second, last = cells[0], cells[1], cells[-1]
    latency = next((name for name in _LATENCIES if len(first.values(name)) and len(second.values(name))), None)
    falls = None if latency is None else _mean(first, latency) / _mean(second, latency)
    return {
        "cell": " ".join(key),
        "first": first.batch,
        "second": second.batch,
        "speeds": [_mean(first, THROUGHPUT), _mean(second, THROUGHPUT)],
        "load": (last.batch or 1) / (first.batch or 1),
        "gain": _mean(last, THROUGHPUT) / _mean(first, THROUGHPUT),
        "latency": latency,
        "falls": falls if falls is not None and falls >= _LATENCY_FALLS else None,
    }
