"""Runs that were published twice: the same values to the last digit, where chance makes none."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl
import scipy

from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged

_LEAST_RUNS, _LEAST_PAIRS = 3, 2
_RARE = 1e-4
_MOST_DIGITS, _SAMPLE = 9, 100


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where rows of a model agree in every metric more often than chance would let them (Poisson, 0.01 %).

    The chance of one pair is that of its finest metric: how many values its digits allow within its spread.
    """
    metrics = list(case.metrics)
    rows: list[str] = []
    pairs = judged = 0
    expected = 0.0
    for _, frame in case.by_model():
        if len(frame) < _LEAST_RUNS or not metrics:
            continue
        values = frame.select(metrics).to_numpy()
        arms = frame["environment"].to_numpy()
        finest = max((_values_within(column, arms) for column in values.T), default=1.0)
        if finest <= 1:
            continue
        judged += 1
        expected += math.comb(len(frame), 2) / finest
        same = frame.filter(pl.struct(metrics).is_duplicated() & pl.any_horizontal(pl.col(metrics).is_not_null()))
        if same.height:
            sizes = same.group_by(metrics).agg(count=pl.len())["count"].to_list()
            pairs += sum(math.comb(size, 2) for size in sizes)
            rows += same["row"].to_list()
    if not judged:
        yield NotJudged("duplicate_rows/few")
    elif pairs >= _LEAST_PAIRS and float(scipy.special.pdtrc(pairs - 1, expected)) < _RARE:
        values_shown = {"rows": len(rows), "pairs": pairs, "expected": expected, "metrics": metrics}
        yield Finding("duplicate_rows", values_shown, "grave", tuple(rows))


def _values_within(column: np.ndarray, arms: np.ndarray) -> float:
    """About how many values the digits of a metric allow where most of an arm's lie; 1 where it does not vary.

    The gap between arms has none of them, so the widest arm counts.
    """
    there = ~np.isnan(column)
    known = column[there]
    if len(known) < _LEAST_RUNS:
        return 1.0
    spans = [np.diff(np.quantile(column[there & (arms == arm)], [0.1, 0.9]))[0] for arm in set(arms[there])]
    sample = known[:_SAMPLE]
    digits = next((d for d in range(_MOST_DIGITS) if _is_whole(sample * 10.0**d)), _MOST_DIGITS)
    return max(1.0, float(max(spans)) * 10.0**digits)


def _is_whole(values: np.ndarray) -> bool:
    return bool(np.max(np.abs(values - np.round(values))) < 1e-4)  # noqa: PLR2004 - what a double of nine digits leaves
