"""Halves of one arm that differ at a test for arms: the test reports an effect where there is none.

The test is Welch's t at 5 %, since results do not state the study's own: it assumes little, and most tests that take runs as
independent agree with it.
"""

from collections.abc import Iterator, Sequence

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, interleaved, rows_of
from sparkray.audit.family import families
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.stats import special
from sparkray.stats.independent import welch_p

_LEVEL = 0.05
_LEAST_RUNS = 6
_RARE = 0.01
_WAYS = 2
Tested = Sequence[tuple[Cell, float]]


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """First half against second half of every cell; a finding when at most 1 % of sound studies would show as much.

    Grave where an arm was measured in one stretch. A note where arms are interleaved (a test of pairs is not misled by what
    both arms went through, a test that compares whole arms is) and where there is but one, compared with nothing.
    Statistics of one quantity are one finding, worded by the one that shows it best.
    """
    cells = [cell for cell in case.series if cell.in_time_order and len(cell.frame) >= _LEAST_RUNS]
    if not cells:
        yield NotJudged("split_halves/few", {"least": _LEAST_RUNS})
        return
    gravity: Gravity = "note" if interleaved(case) else "grave"
    metrics = distinct_metrics(case)
    tested = {metric: [(cell, p) for cell in cells if (p := _halves_p(cell, metric)) is not None] for metric in metrics}
    chances = {metric: chance_of([p for _, p in pairs]) for metric, pairs in tested.items() if pairs}
    odd = {metric: p for metric, p in chances.items() if p * len(metrics) < _RARE and _differing(tested[metric])}
    for best, label, members in families(odd):
        items = [{"cell": cell.name_in_series, "p": p} for cell, p in _differing(tested[best])]
        values = {
            "metrics": label,
            "differ": len(items),
            "cells": len(tested[best]),
            "chance": odd[best],
            "items": items,
        }
        rows = rows_of(cell for metric in members for cell, _ in _differing(tested[metric]))
        yield Finding("split_halves", values, gravity, rows)


def _differing(tested: Tested) -> Tested:
    return [(cell, p) for cell, p in tested if p < _LEVEL]


def chance_of(ps: Sequence[float]) -> float:
    """How often cells without any difference would be as odd as these, at most; 1 at the highest.

    Odd are many p below 5 % (binomial), or one that is very small (Bonferroni over the cells); a few cells can only be the
    latter. Twice the lesser of the two, since either would do: of sound cells that are independent no more than a
    share of x are below x.

    Args:
        ps: One a cell, at least one.
    """
    low = sum(p < _LEVEL for p in ps)
    many = float(special.bdtrc(low - 1, len(ps), _LEVEL)) if low else 1.0
    one = len(ps) * min(ps)
    return min(1.0, _WAYS * min(many, one))


def _halves_p(cell: Cell, metric: str) -> float | None:
    values = cell.values(metric)
    half = len(values) // 2
    return welch_p(values[:half], values[half:]) if len(values) >= _LEAST_RUNS else None
