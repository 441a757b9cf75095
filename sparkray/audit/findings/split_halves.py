"""Halves of one arm that differ at the study's own test: what the test calls an effect where there is none."""

from collections.abc import Iterator

from scipy import stats

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.serial import welch_p

_LEVEL = 0.05
_LEAST_RUNS = 6
_RARE = 0.01


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """First half against second half of every cell, by Welch's t test at 5 %; grave when more differ than chance allows.

    Chance allows 5 % of the cells (binomial, at 1 % over all metrics).
    """
    cells = [cell for cell in case.cells if cell.in_time_order and len(cell.frame) >= _LEAST_RUNS]
    if not cells:
        yield NotJudged("split_halves", f"no cell has {_LEAST_RUNS} runs of known order")
        return
    metrics = distinct_metrics(case)
    for metric in metrics:
        tested = [(cell, p) for cell in cells if (p := _halves_p(cell, metric)) is not None]
        differ = [(cell, p) for cell, p in tested if p < _LEVEL]
        if not differ:
            continue
        chance = float(stats.binom.sf(len(differ) - 1, len(tested), _LEVEL))
        if chance * len(metrics) < _RARE:
            yield Finding(
                "split_halves",
                "grave",
                f"an arm differs from itself in {metric}: the test that compares the arms finds effects where there are "
                "none, so what it finds between arms is worth nothing",
                f"first against second half differs at 5 % in {len(differ)} of {len(tested)} cells (chance {chance:.1g}): "
                + ", ".join(f"{cell.name} p = {p:.2g}" for cell, p in differ),
                tuple(row for cell, _ in differ for row in cell.rows),
            )


def _halves_p(cell: Cell, metric: str) -> float | None:
    values = cell.values(metric)
    half = len(values) // 2
    return welch_p(values[:half], values[half:]) if len(values) >= _LEAST_RUNS else None
