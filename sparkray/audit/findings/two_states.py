"""A metric that takes two values: a mixture of a fast and a slow state, whose mean depends on how often each came."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, rows_of
from sparkray.audit.family import families
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.resolution import digits_of

_LEAST_RUNS, _LEAST_SIDE = 8, 2
# Distance of the two means: in standard deviations within, and as a share of the greater.
_FAR, _LEAST_SHARE = 8.0, 0.05
_SPEEDS = ("throughput", "latency", "ttft", "itl", "tpot")


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where a speed of a cell falls into two groups of 2 runs or more, 8 sd and 5 % apart.

    Eight normal values split at their widest gap are about 3 sd apart.
    """
    cells = [cell for cell in case.series if len(cell.frame) >= _LEAST_RUNS]
    if not cells:
        yield NotJudged("two_states/few", {"least": _LEAST_RUNS})
        return
    split = {
        metric: found
        for metric in distinct_metrics(case)
        if any(word in metric for word in _SPEEDS)
        if (found := [(cell, groups) for cell in cells if (groups := two_groups(cell.values(metric)))])
    }
    for best, label, _ in families({metric: 1 / len(found) for metric, found in split.items()}):
        items = [_item(cell, groups) for cell, groups in split[best]]
        yield Finding(
            "two_states", {"metrics": label, "items": items}, "grave", rows_of(cell for cell, _ in split[best])
        )


def two_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The two groups of a mixture; None where one spread explains the values."""
    ordered = np.sort(values)
    if len(ordered) < _LEAST_RUNS:
        return None
    gaps = np.diff(ordered)[_LEAST_SIDE - 1 : len(ordered) - _LEAST_SIDE]
    cut = int(np.argmax(gaps)) + _LEAST_SIDE
    low, high = ordered[:cut], ordered[cut:]
    apart = float(high.mean() - low.mean())
    rounding = 10.0 ** (-2 * digits_of(ordered)) / 12  # the variance of what rounding takes off
    squares = float(np.sum((low - low.mean()) ** 2)) + float(np.sum((high - high.mean()) ** 2))
    within = math.sqrt(squares / (len(ordered) - 2) + rounding)
    if apart <= _LEAST_SHARE * abs(float(high.mean())) or apart < _FAR * within:
        return None
    return low, high


def _item(cell: Cell, groups: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    low, high = groups
    return {
        "cell": cell.name_in_series,
        "low": float(low.mean()),
        "lows": len(low),
        "high": float(high.mean()),
        "highs": len(high),
    }
