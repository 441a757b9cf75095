"""Runs that were published twice: the same values to the last digit, where chance makes none."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.resolution import digits_of
from sparkray.stats import special

_LEAST_RUNS, _LEAST_PAIRS = 3, 2
_RARE = 1e-4
# Values that recur more often, of which the digits allow fewer for each row, may be rounded: a machine with two states makes
# two of whole tokens per second. Values with more digits do not recur by chance, however few they are.
_MOST_COPIES, _LEAST_ROOM = 6, 4
# Digits in the last place that make two values neighbours.
_NEAR = 20


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where rows of a model agree in every metric more often than chance would let them (Poisson, 0.01 %).

    The chance of one pair is that of its finest metric: how many values its digits allow within its spread.
    """
    metrics = list(case.metrics)
    rows: list[str] = []
    rounded: list[str] = []
    pairs = judged = 0
    expected = 0.0
    for model, frame in case.by_model():
        if len(frame) < _LEAST_RUNS or not metrics:
            continue
        values = frame.select(metrics).to_numpy()
        arms = [(frame["environment"] == arm).to_numpy() for arm in frame["environment"].unique()]
        sizes_of = [_values_within(*pair) for pair in zip(values.T, _spans(values, arms), strict=True)]
        finest = max(range(len(metrics)), key=sizes_of.__getitem__)
        if sizes_of[finest] <= 1:
            continue
        if _may_be_rounded(frame[metrics[finest]], sizes_of[finest]):
            rounded.append(model)
            continue
        judged += 1
        expected += max(math.comb(len(frame), 2) / sizes_of[finest], _pairs_by_density(values[:, finest]))
        same = frame.filter(pl.struct(metrics).is_duplicated() & pl.any_horizontal(pl.col(metrics).is_not_null()))
        if same.height:
            sizes = same.group_by(metrics).agg(count=pl.len())["count"].to_list()
            pairs += sum(math.comb(size, 2) for size in sizes)
            rows += same["row"].to_list()
    if rounded:
        yield NotJudged("duplicate_rows/rounded", {"models": rounded})
    elif not judged:
        yield NotJudged("duplicate_rows/few")
    if pairs >= _LEAST_PAIRS and float(special.pdtrc(pairs - 1, expected)) < _RARE:
        values_shown = {"rows": len(rows), "pairs": pairs, "expected": expected, "metrics": metrics}
        yield Finding("duplicate_rows", values_shown, "grave", tuple(rows))


def _may_be_rounded(values: pl.Series, allowed: float) -> bool:
    """Whether few values recur, and their digits allow few (`allowed`) for so many rows."""
    return values.n_unique() * _MOST_COPIES < len(values) and allowed < _LEAST_ROOM * len(values)


def _spans(values: np.ndarray, arms: Sequence[np.ndarray]) -> np.ndarray:
    """Of each metric the span in which most values of an arm lie, of the widest arm: the gap between arms has none.

    `arms` holds which rows are of each.
    """
    return np.asarray(np.max([_most(values[arm]) for arm in arms], axis=0))


def _most(values: np.ndarray) -> list[float]:
    """The span of 80 % of the values of each column; 0 without any."""
    if not np.isnan(values).any():  # all columns at once
        return list(np.diff(np.quantile(values, [0.1, 0.9], axis=0), axis=0)[0])
    known = (column[~np.isnan(column)] for column in values.T)
    return [float(np.diff(np.quantile(column, [0.1, 0.9]))[0]) if len(column) else 0.0 for column in known]


def _values_within(column: np.ndarray, span: float) -> float:
    """About how many values the digits of a metric allow in a span; 1 where it does not vary."""
    known = column[~np.isnan(column)]
    return max(1.0, float(span) * 10.0 ** digits_of(known)) if len(known) >= _LEAST_RUNS else 1.0


def _pairs_by_density(column: np.ndarray) -> float:
    """Equal pairs to expect by how many pairs are a few digits apart, where values crowd at several levels."""
    known = np.sort(column[~np.isnan(column)])
    known = np.unique(np.round(known * 10.0 ** digits_of(known)))  # a copy is no neighbour
    near = np.searchsorted(known, known + _NEAR, side="right") - np.arange(1, len(known) + 1)
    return float(near.sum()) / (2 * _NEAR)
